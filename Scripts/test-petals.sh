#!/usr/bin/env bash
# Checks the PETALS worker, and the whole engine on real PETALS servers.
#
# usage: Scripts/test-petals.sh [--unit]      (--unit: formatting, types and the tests that need no servers)
#
# Needs `make petals` and a built chainserve (CHAINSERVE, else the release build, else the debug build). The whole suite
# starts at most three servers at once and needs about 8 GB of memory. Ends with status 75 when something is missing.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
cache=${CHAINSERVE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/chainserve}
environment=${CHAINSERVE_PETALS:-$cache/petals}
python=$environment/bin/python
if [ ! -x "$python" ]; then
  echo "test-petals: skipped: the PETALS engine is not installed; run \`make petals\`" >&2
  exit 75
fi
cd integrations/petals
"$environment/bin/ruff" format --check --quiet .
"$environment/bin/ruff" check --quiet .
"$environment/bin/mypy"
"$python" -m pytest -q tests
[ "${1:-}" = --unit ] && exit 0

if [ -z "${CHAINSERVE:-}" ]; then
  for built in "$root/.build/release/chainserve" "$root/.build/debug/chainserve"; do
    if [ -x "$built" ]; then CHAINSERVE=$built; break; fi
  done
fi
if [ -z "${CHAINSERVE:-}" ]; then
  echo "test-petals: chainserve is not built; run \`make build\`" >&2
  exit 75
fi
export CHAINSERVE OMP_WAIT_POLICY=passive PYTHONWARNINGS=ignore
exec "$python" -m pytest -q -s --override-ini testpaths= --override-ini "pythonpath=. integration" integration
