// Counts allocations of a program it is preloaded into, and prints their number when the program ends.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static unsigned long count;
static void *(*next_malloc)(size_t);
static void *(*next_realloc)(void *, size_t);
static int (*next_posix_memalign)(void **, size_t, size_t);

void *malloc(size_t size) {
    if (!next_malloc) next_malloc = (void *(*)(size_t))dlsym(RTLD_NEXT, "malloc");
    __atomic_add_fetch(&count, 1, __ATOMIC_RELAXED);
    return next_malloc(size);
}

void *realloc(void *block, size_t size) {
    if (!next_realloc) next_realloc = (void *(*)(void *, size_t))dlsym(RTLD_NEXT, "realloc");
    __atomic_add_fetch(&count, 1, __ATOMIC_RELAXED);
    return next_realloc(block, size);
}

int posix_memalign(void **block, size_t alignment, size_t size) {
    if (!next_posix_memalign)
        next_posix_memalign = (int (*)(void **, size_t, size_t))dlsym(RTLD_NEXT, "posix_memalign");
    __atomic_add_fetch(&count, 1, __ATOMIC_RELAXED);
    return next_posix_memalign(block, alignment, size);
}

__attribute__((destructor)) static void report(void) {
    char line[64];
    int length = snprintf(line, sizeof line, "allocations %lu\n", count);
    if (write(2, line, (size_t)length) < 0) return;
}
