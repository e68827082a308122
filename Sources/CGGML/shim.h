#include <ggml.h>
#include <ggml-alloc.h>
#include <ggml-backend.h>
