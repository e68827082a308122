#!/usr/bin/env bash
# Runs benchmarks and writes what they print into docs/benchmarks.md.
#
# usage: Scripts/bench.sh [NAME ...]     (without names: every one that has Benchmarks/NAME/run.sh)
#
# Benchmarks/NAME/run.sh is run in the package's root. It prints a Markdown section on standard output (headed
# `## `, with the command that makes it, ratios against a peer of the same run, and counts) and its progress on
# standard error. It ends with status 75 when its peer is not there: its old section is then kept.
set -euo pipefail
cd "$(dirname "$0")/.."
page=docs/benchmarks.md
names=("$@")
if [ $# = 0 ]; then
    for script in Benchmarks/*/run.sh; do names+=("$(basename "$(dirname "$script")")"); done
fi
section=$(mktemp)
trap 'rm -f "$section" "$section.page"' EXIT
failed=0
for name in "${names[@]}"; do
    if [ ! -x "Benchmarks/$name/run.sh" ]; then
        echo "bench: there is no benchmark '$name'; there are: $(cd Benchmarks && echo */ | tr -d /)" >&2
        exit 2
    fi
    echo "bench: $name" >&2
    status=0
    "Benchmarks/$name/run.sh" >"$section" || status=$?
    if [ $status != 0 ]; then
        [ $status = 75 ] || failed=1
        echo "bench: $name ended with status $status; its section is left as it was" >&2
        continue
    fi
    if ! grep -q "^<!-- begin $name -->$" "$page"; then
        printf '\n<!-- begin %s -->\n<!-- end %s -->\n' "$name" "$name" >>"$page"
    fi
    awk -v name="$name" -v file="$section" '
        $0 == "<!-- begin " name " -->" { print; while ((getline line < file) > 0) print line; skip = 1; next }
        $0 == "<!-- end " name " -->" { skip = 0 }
        !skip { print }' "$page" >"$section.page"
    cat "$section.page" >"$page"
done
exit $failed
