#!/usr/bin/env bash
# Installs what the build needs from outside Swift and leaves `.native` in the package folder: a link to a folder with
# include/, lib/ and lib/pkgconfig/ of ggml and llama.
#
# macOS: Homebrew's ggml and llama.cpp. Debian: built once from the source that PyPI's llama-cpp-python ships, pinned,
# kept in a cache outside the clone by version and processor (the build uses this machine's instructions). With an NVIDIA
# GPU and the CUDA toolkit (nvcc) here, ggml is built for that GPU too; CHAINSERVE_CUDA=0 leaves it out, CHAINSERVE_CUDA=1
# builds it where no GPU is seen. CHAINSERVE_NATIVE_SOURCE names an unpacked llama.cpp to build instead of downloading one.
# An interrupted run leaves no half-made installation: `.complete` is written last, and the compile resumes.
set -euo pipefail

release=0.3.36                       # llama-cpp-python; its sdist carries the sources of llama.cpp and ggml
root=$(cd "$(dirname "$0")/.." && pwd)
cache=${CHAINSERVE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/chainserve}
say() { printf 'chainserve set-up: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

command -v swift >/dev/null || die "a Swift 6.3 toolchain is needed: see https://www.swift.org/install"

link() {  # link TARGET: point .native at it, and drop build products made against another one
  if [ "$(readlink "$root/.native" 2>/dev/null)" != "$1" ]; then
    rm -rf "$root/.native"
    ln -s "$1" "$root/.native"
  fi
}

if [ "$(uname)" = Darwin ]; then
  command -v brew >/dev/null || die "Homebrew is needed for ggml and llama.cpp: see https://brew.sh"
  missing=""
  for formula in ggml llama.cpp pkgconf python3; do
    brew list --versions "$formula" >/dev/null 2>&1 || missing="$missing $formula"
  done
  if [ -n "$missing" ]; then say "installing$missing with Homebrew"; brew install $missing; fi
  link "$(brew --prefix)"
  exit 0
fi

# --- Debian packages --------------------------------------------------------------------------------------------
packages=()
need() { command -v "$1" >/dev/null 2>&1 || packages+=("$2"); }
need cmake cmake; need ninja ninja-build; need g++ g++; need pkg-config pkg-config; need flock util-linux
need python3 python3
python3 -m pip --version >/dev/null 2>&1 || packages+=(python3-pip python3-venv)
[ -e /usr/include/zlib.h ] || packages+=(zlib1g-dev)
[ -e /usr/include/sqlite3.h ] || packages+=(libsqlite3-dev)
if [ ${#packages[@]} -gt 0 ]; then
  say "installing Debian packages: ${packages[*]}"
  sudo=""; [ "$(id -u)" = 0 ] || sudo=sudo
  $sudo apt-get update -qq
  DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq "${packages[@]}" >/dev/null
fi

# --- ggml and llama ---------------------------------------------------------------------------------------------
processor=$(grep -m1 -E '^(flags|Features)' /proc/cpuinfo | tr ' ' '\n' | grep -E '^(avx|sse|fma|f16c|bmi|neon|asimd|sve|i8mm)' \
  | sort | cksum | cut -d' ' -f1)
name=llama-cpp-python-$release-$(uname -m)-$processor

# GCC 12 drops the stores to ggml's tile configuration (its ldtilecfg reads 8 of the 64 bytes, as far as the compiler
# knows), and the first product on tiles ends the process. So: no AMX. The options must not reach compilers that lack them.
options=()
no_amx=""
for option in -mno-amx-tile -mno-amx-int8 -mno-amx-bf16; do
  if [ "$(uname -m)" = x86_64 ] && echo | g++ "$option" -x c++ -E - >/dev/null 2>&1; then no_amx="$no_amx $option"; fi
done
[ -z "$no_amx" ] || options+=("-DCMAKE_C_FLAGS=$no_amx" "-DCMAKE_CXX_FLAGS=$no_amx")

# --- CUDA, where it is ------------------------------------------------------------------------------------------
nvcc=$(PATH=$PATH:/usr/local/cuda/bin command -v nvcc || true)
cuda=${CHAINSERVE_CUDA:-auto}
if [ "$cuda" = auto ]; then
  cuda=0
  if command -v nvidia-smi >/dev/null && nvidia-smi -L 2>/dev/null | grep -q '^GPU'; then
    if [ -n "$nvcc" ]; then cuda=1; else say "an NVIDIA GPU is here but no nvcc: building for the CPU alone (install the CUDA toolkit for the GPU)"; fi
  fi
fi
if [ "$cuda" = 1 ]; then
  [ -n "$nvcc" ] || die "CHAINSERVE_CUDA=1, but there is no nvcc: install the CUDA toolkit or put its bin folder on PATH"
  name=$name-cuda-$("$nvcc" --version | sed -n 's/.*release \([0-9.]*\).*/\1/p')
  options+=(-DGGML_CUDA=ON "-DCMAKE_CUDA_COMPILER=$nvcc" "-DCMAKE_CUDA_ARCHITECTURES=${CHAINSERVE_CUDA_ARCHITECTURES:-native}")
fi
prefix=$cache/native/$name
mkdir -p "$cache/native"
exec 9>"$cache/native/$name.lock"
flock -n 9 || { say "another set-up is building the native libraries: waiting for it"; flock 9; }

if [ ! -e "$prefix/.complete" ]; then
  work=$cache/native/$name.work
  mkdir -p "$work"
  if [ -n "${CHAINSERVE_NATIVE_SOURCE:-}" ]; then
    source=$(cd "$CHAINSERVE_NATIVE_SOURCE" && pwd -P)
  else
    if [ ! -e "$work/.unpacked" ]; then
      say "downloading llama-cpp-python $release from PyPI (77 MB; brings the sources of ggml and llama.cpp)"
      rm -rf "$work/download" "$work/source"; mkdir -p "$work/download" "$work/source"
      python3 -m pip download --quiet --disable-pip-version-check --no-deps --no-binary llama-cpp-python \
        "llama-cpp-python==$release" -d "$work/download" >&2
      tar -xzf "$work"/download/llama_cpp_python-*.tar.gz -C "$work/source" --strip-components=1
      rm -rf "$work/download" "$work/source/vendor/llama.cpp/.git"   # a stub that makes Ninja re-run CMake for ever
      touch "$work/.unpacked"
    fi
    source=$(cd "$work/source/vendor/llama.cpp" && pwd -P)
  fi
  say "configuring ggml and llama.cpp"
  if ! cmake -S "$source" -B "$work/build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=ON \
      -DCMAKE_INSTALL_PREFIX="$prefix" -DCMAKE_INSTALL_LIBDIR=lib -DCMAKE_INSTALL_RPATH='$ORIGIN' -DGGML_NATIVE=ON \
      -DLLAMA_BUILD_COMMON=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_TOOLS=OFF -DLLAMA_BUILD_EXAMPLES=OFF \
      -DLLAMA_BUILD_SERVER=OFF -DLLAMA_BUILD_APP=OFF -DLLAMA_BUILD_UI=OFF -DLLAMA_OPENSSL=OFF "${options[@]}" \
      >"$work/configure.log" 2>&1; then
    tail -20 "$work/configure.log" >&2; die "CMake failed; the whole log is $work/configure.log"
  fi
  if [ "$cuda" = 1 ]; then duration="with CUDA, some minutes on 16 cores, much longer on few"; else duration="about 4 minutes on 2 cores"; fi
  say "building ggml and llama.cpp ($duration, once; cached in $prefix)"
  : >"$work/build.log"
  ninja -C "$work/build" >"$work/build.log" 2>&1 &
  build=$!
  trap 'kill $build 2>/dev/null || true' EXIT
  shown=-1
  while kill -0 $build 2>/dev/null; do
    sleep 1
    step=$(tail -c 4000 "$work/build.log" | grep -oE '^\[[0-9]+/[0-9]+\]' | tail -1 | tr -d '[]' || true)
    [ -n "$step" ] || continue
    percent=$(( ${step%/*} * 100 / ${step#*/} ))
    if [ -t 2 ]; then printf '\r  compiling %s (%d %%) ' "$step" "$percent" >&2
    elif [ $(( percent / 10 )) -gt "$shown" ]; then say "compiling $step ($percent %)"; shown=$(( percent / 10 )); fi
  done
  [ -t 2 ] && printf '\n' >&2
  trap - EXIT
  wait $build || { grep -E 'error|FAILED' "$work/build.log" | head -20 >&2; die "the build failed; the log is $work/build.log"; }
  rm -rf "$prefix"
  cmake --install "$work/build" >"$work/install.log" 2>&1 || die "installing failed; see $work/install.log"
  mkdir -p "$prefix/lib/pkgconfig"
  cat >"$prefix/lib/pkgconfig/ggml.pc" <<PC
prefix=$prefix
Name: ggml
Description: Tensor library for machine learning
Version: $release
Cflags: -I\${prefix}/include
Libs: -L\${prefix}/lib -lggml -lggml-base
PC
  touch "$prefix/.complete"
  rm -rf "$work"
  say "native libraries ready"
fi
link "$prefix"
