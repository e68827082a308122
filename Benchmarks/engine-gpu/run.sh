#!/usr/bin/env bash
# The engine beside libllama on a GPU. Run from the package's root, on a machine with one.
#
# ENGINE_FOLDER: where files of random weights go for the time (17 GB at most); ENGINE_DEVICE: a ggml device.
set -euo pipefail
if ! nvidia-smi -L >/dev/null 2>&1 && [ "$(uname)" != Darwin ]; then
    echo "engine-gpu: no GPU is here" >&2
    exit 75
fi
source Benchmarks/engine/table.sh
arguments=(--device "${ENGINE_DEVICE:-auto}" --folder "${ENGINE_FOLDER:-${TMPDIR:-/tmp}}" --threads "$(nproc)")

cat <<END
## The engine on a GPU

\`make bench ARGS=engine-gpu\` on $(nvidia-smi --query-gpu=name --format=csv,noheader 2>/dev/null | head -1 || sysctl -n machdep.cpu.brand_string), read as the table before it; models cut into three ranges on one GPU, whose hidden
states pass through the host's memory between them, as they do between servers.

END
table_head
differences=""
for row in ${ENGINE_ROWS:-smollm2-135m:q4_0 llama-3.2-1b:f16 llama-2-7b:q4_0 llama-3-8b:f16}; do
    more=()
    # The processor takes minutes for a prompt of the largest.
    [ "$row" = llama-3-8b:f16 ] || more=(--compare-with-cpu)
    table_row "${arguments[@]}" --shape "${row%:*}" --type "${row#*:}" "${more[@]}" \
        --jobs 1 --jobs 4 --jobs 16 --jobs 64
    difference=$(awk '$1 == "cpu_relative_error" { printf "%.1g", $2 }' <<<"$log")
    [ -z "$difference" ] || differences+="${differences:+, }$difference (${row%:*})"
done
echo
echo "The same logits computed by the processor part by \`‖x − y‖/‖y‖\`: $differences."
