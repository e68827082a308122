#!/usr/bin/env bash
# Installs the plotting library of `chainserve experiment` (PyPI: vl-convert-python, which renders Vega-Lite) into an
# environment of its own in the cache. Does nothing when it is there. Needs Python 3.9 or later with venv.
set -euo pipefail
version=1.9.0
folder="${CHAINSERVE_PLOTS:-$HOME/.cache/chainserve/plots-$version}"
[ -e "$folder/ready" ] && exit 0
echo "plots: installing vl-convert-python $version into $folder" >&2
if ! command -v python3 >/dev/null; then
    echo "plots: python3 is missing (apt-get install python3 python3-venv)" >&2
    exit 1
fi
rm -rf "$folder"
mkdir -p "$(dirname "$folder")"
python3 -m venv "$folder" >&2 || { echo "plots: python3-venv is missing (apt-get install python3-venv)" >&2; exit 1; }
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check "vl-convert-python~=$version" >&2
"$folder/bin/python" -c 'import vl_convert' >&2
touch "$folder/ready"
