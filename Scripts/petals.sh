#!/usr/bin/env bash
# Makes the PETALS engine ready: a virtual environment with the pinned packages and the default model in Hugging Face's
# format. Both are kept outside the clone, in $CHAINSERVE_CACHE (default ~/.cache/chainserve):
#
#   petals-VERSION-DIGEST/          the environment; DIGEST is of the pins
#   models/NAME.petals/hf           the model converted from its GGUF, float32
#   models/NAME.petals/NAME.f32.gguf   the same weights as a GGUF, for the orchestrator's own ends
#
# usage: Scripts/petals.sh [--model FILE.gguf] [--no-model]
#
#   petals                          a link to the environment, by which chainserve finds it
#
# Interruptible and repeatable: what is complete is kept, what is not is made again. The last line on standard output is
# the environment's folder. A GPU build of torch is used where that is what pip finds; nothing here asks for one.
set -euo pipefail

version=2.2.0.post1                  # of PETALS
torch=2.13.0
root=$(cd "$(dirname "$0")/.." && pwd)
here=$root/integrations/petals
cache=${CHAINSERVE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/chainserve}
say() { printf 'petals set-up: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

model="" with_model=1
while [ $# -gt 0 ]; do
  case $1 in
    --model) [ $# -ge 2 ] || die "--model needs a GGUF file"; model=$2; shift 2 ;;
    --no-model) with_model=0; shift ;;
    *) say "unknown option '$1'; usage: Scripts/petals.sh [--model FILE.gguf] [--no-model]"; exit 2 ;;
  esac
done

python=${CHAINSERVE_PYTHON:-}
if [ -z "$python" ]; then
  for candidate in python3.11 python3; do
    if command -v "$candidate" >/dev/null && "$candidate" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))'; then
      python=$candidate; break
    fi
  done
fi
[ -n "$python" ] || die "Python 3.11 is needed (Debian 12: apt-get install python3 python3-venv; macOS: brew install python@3.11);
  CHAINSERVE_PYTHON names another one"
"$python" -c 'import venv, ensurepip' 2>/dev/null || die "$python cannot make virtual environments: install python3-venv"

# --- The environment --------------------------------------------------------------------------------------------
digest=$(cat "$here/requirements.txt" "$here/requirements-checks.txt" <(echo "$torch") | cksum | cut -d' ' -f1)
prefix=$cache/petals-$version-$digest
mkdir -p "$cache"
if command -v flock >/dev/null; then
  exec 9>"$prefix.lock"
  flock -n 9 || { say "another set-up is under way: waiting for it"; flock 9; }
fi
pip() { "$prefix/bin/python" -m pip --disable-pip-version-check "$@" >&2; }
phase() {  # phase NAME COMMAND...: once; an interrupted one is run again (pip keeps what is installed already)
  local name=$1; shift
  [ -e "$prefix/.$name" ] && return 0
  local start=$SECONDS
  "$@"
  touch "$prefix/.$name"
  say "$name installed in $((SECONDS - start)) s"
}
install_torch() {
  if pip install --quiet --no-deps "torch==$torch+cpu" 2>"$prefix/torch.log"; then
    say "torch $torch: the CPU build"
  elif [ "$(uname)" = Darwin ]; then
    pip install --quiet --no-deps "torch==$torch"
  else
    say "torch $torch: pip finds no CPU build; taking PyPI's default build, whose GPU libraries take some GB more"
    pip install --quiet --constraint "$here/requirements.txt" "torch==$torch"
  fi
}
if [ ! -e "$prefix/.complete" ]; then
  say "installing PETALS $version into $prefix (about 1.3 GB with torch's CPU build)"
  [ -x "$prefix/bin/python" ] || { rm -rf "$prefix"; "$python" -m venv "$prefix"; }
  phase torch install_torch
  phase packages pip install --quiet --no-deps --requirement "$here/requirements.txt"
  phase checks pip install --quiet --constraint "$here/requirements.txt" --requirement "$here/requirements-checks.txt"
  touch "$prefix/.complete"
  say "environment ready: $(du -sm "$prefix" | cut -f1) MB"
fi

# The environment runs the worker of this clone.
echo "$here" >"$("$prefix/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')/chainserve.pth"

# --- The model --------------------------------------------------------------------------------------------------
if [ "$with_model" = 1 ]; then
  if [ -z "$model" ]; then
    model=$cache/models/SmolLM2-135M-Instruct.Q4_1.gguf
    if [ ! -e "$model" ]; then
      for chainserve in "$root/.build/release/chainserve" "$root/.build/debug/chainserve"; do
        if [ -x "$chainserve" ]; then "$chainserve" fetch >/dev/null; break; fi
      done
    fi
    [ -e "$model" ] || die "the default model is not there yet: run \`make run\` once, or give --model FILE.gguf"
  fi
  [ -f "$model" ] || die "$model is not a file"
  name=$(basename "$model" .gguf)
  out=$cache/models/$name.petals
  if [ ! -e "$out/hf/config.json" ] || [ ! -e "$out/$name.f32.gguf" ]; then
    start=$SECONDS
    say "converting $model for PETALS"
    "$prefix/bin/python" -m chainserve_petals.convert "$model" "$out"
    say "model ready in $((SECONDS - start)) s: $out ($(du -sm "$out" | cut -f1) MB)"
  fi
fi
link=$cache/petals
if [ "$(readlink "$link" 2>/dev/null)" != "$prefix" ]; then rm -f "$link"; ln -s "$prefix" "$link"; fi
echo "$prefix"
