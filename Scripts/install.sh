#!/usr/bin/env bash
# Puts what `make release` built into a folder that runs wherever it is copied: bin/chainserve, the native libraries in
# lib/, and in share/ the files of deploy/ and the operations guide.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
target=${1:?usage: Scripts/install.sh FOLDER}
binary=$root/.build-tls/release/chainserve
[ -x "$binary" ] || { echo "install: $binary is not there; make release builds it" >&2; exit 2; }

mkdir -p "$target/bin" "$target/lib" "$target/share"
# Beside its place and then into it: a running chainserve keeps the file that it was started from.
install -m 755 "$binary" "$target/bin/chainserve.new"
mv -f "$target/bin/chainserve.new" "$target/bin/chainserve"
for library in "$root"/.native/lib/*.so* "$root"/.native/lib/*.dylib; do
  [ -e "$library" ] || continue
  rm -f "$target/lib/${library##*/}"
  cp -a "$library" "$target/lib/"
done
cp "$root/docs/operations.md" "$target/share/"
cp -R "$root/deploy/systemd" "$root/deploy/prometheus" "$root/deploy/grafana" "$target/share/"
"$target/bin/chainserve" help >/dev/null
echo "installed in $target" >&2
