#!/usr/bin/env bash
# The gateway beside nginx (least_conn) and LiteLLM's proxy: requests per second, and what each adds to the latency.
# Peers: nginx and wrk from Debian, litellm[proxy] from PyPI (kept in a virtual environment outside the clone).
set -euo pipefail
for tool in nginx wrk python3 gcc; do
    command -v $tool >/dev/null || { echo "gateway: $tool is missing: apt-get install nginx-light wrk python3 gcc" >&2; exit 75; }
done
environment=${CHAINSERVE_CACHE:-$HOME/.cache/chainserve}/bench-venv-litellm
if [ ! -x "$environment/bin/litellm" ]; then
    echo "gateway: installing litellm[proxy] into $environment" >&2
    { python3 -m venv "$environment" && "$environment/bin/pip" install -q 'litellm[proxy]'; } >&2 || {
        echo "gateway: litellm cannot be installed" >&2; exit 75; }
fi
for product in chainserve benchmark-relay; do swift build ${RELEASE_FLAGS:--c release} --product $product >&2; done
gcc -O2 -o .build/gateway-load Benchmarks/gateway/load.c -lm
exec python3 Benchmarks/gateway/compare.py .build/release/chainserve "$environment/bin/litellm" .build/gateway-load \
    .build/release/benchmark-relay "$@"
