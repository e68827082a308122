#!/usr/bin/env bash
# The clients that the tests of compatibility use: the official `openai` package and the `llm` tool, in a virtual
# environment outside the clone. Prints its folder. Made once for these versions; needs the network then.
set -euo pipefail

packages=("openai==3.57.0" "llm==0.36")
cache=${CHAINSERVE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/chainserve}
name=clients-$(printf '%s\n' "${packages[@]}" | cksum | cut -d' ' -f1)
folder=$cache/$name
say() { printf 'chainserve clients: %s\n' "$*" >&2; }

mkdir -p "$cache"
exec 9>"$cache/$name.lock"
flock 9
if [ ! -e "$folder/.complete" ]; then
  say "installing ${packages[*]} in $folder"
  rm -rf "$folder"
  python3 -m venv "$folder"
  "$folder/bin/python" -m pip install --quiet --disable-pip-version-check "${packages[@]}" >&2
  touch "$folder/.complete"
fi
# Where the tests look, whatever the versions.
ln -sfn "$folder" "$cache/clients"
printf '%s\n' "$folder"
