#!/usr/bin/env bash
# The engine beside libllama on this machine's processors. Run from the package's root.
set -euo pipefail
source Benchmarks/engine/table.sh
model="${CHAINSERVE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/chainserve}/models/SmolLM2-135M-Instruct.Q4_1.gguf"
cores=$(nproc)
threads=$((cores < 4 ? cores : 4))

cat <<END
## The engine beside libllama

\`make bench ARGS=engine\`: one model, whole in libllama and cut into three ranges here, $threads threads of $cores processors. Tokens per
second over all jobs, the best of three runs in turn, and in brackets the ratio to libllama's; jobs make 64 tokens each. \`error\`: of the logits of
17 steps, \`‖x − y‖/‖y‖\`, the largest; \`same\`: how often the likeliest token is libllama's. Random weights are as fast as true ones.

END
table_head
if [ -e "$model" ]; then table_row --device cpu --threads "$threads" --model "$model" --jobs 1 --jobs 4 --jobs 16; fi
for type in q8_0 f16; do
    table_row --device cpu --threads "$threads" --shape smollm2-135m --type $type --jobs 1 --jobs 4 --jobs 16
done
