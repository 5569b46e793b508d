#!/usr/bin/env bash
# Installs what is missing on a Debian 12 machine, as root or with sudo; does nothing (and needs neither) where all is there.
#   bootstrap.sh build   what building and running needs, and LibTorch in a cache outside the build folder
#   bootstrap.sh test    the same, and what the tests need
#   bootstrap.sh cuda    a CUDA compiler and what it needs beside LibTorch, in that cache; prints where it is
set -euo pipefail

readonly torch_version=2.11.0 cuda_version=13.0
readonly cache="${XDG_CACHE_HOME:-$HOME/.cache}/espalier"
readonly here="$(cd "$(dirname "$0")" && pwd)"
readonly build_packages="g++ cmake ninja-build ccache python3 python3-pip libboost-dev libboost-program-options-dev \
  libtomlplusplus-dev nlohmann-json3-dev libjpeg62-turbo-dev zlib1g-dev"
readonly test_packages="libgtest-dev clang clang-format clang-tidy binutils"

fail() { echo "setup: $*" >&2; exit 1; }

missing_packages() {
  local name
  for name in "$@"; do
    dpkg-query -W -f '${db:Status-Abbrev}' "$name" 2>/dev/null | grep -q '^ii' || echo "$name"
  done
}

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"
  elif command -v sudo >/dev/null; then sudo "$@"
  else fail "needs root or sudo to install: ${missing[*]}"; fi
}

install_packages() {
  local missing log
  mapfile -t missing < <(missing_packages "$@")
  [ ${#missing[@]} -gt 0 ] || return 0
  command -v apt-get >/dev/null || fail "no apt-get here; install by hand: ${missing[*]}"
  echo "setup: installing Debian packages: ${missing[*]}"
  log="$(mktemp)"
  as_root env DEBIAN_FRONTEND=noninteractive apt-get update -q >"$log" 2>&1 ||
    fail "apt-get update failed: $(grep -m1 '^[EW]:' "$log" || tail -n1 "$log")"
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}" >"$log" 2>&1 ||
    fail "apt-get could not install ${missing[*]}: $(grep -m1 '^E:' "$log" || tail -n1 "$log")"
  rm -f "$log"
}

have_libtorch() {
  [ -n "${ESPALIER_LIBTORCH:-}" ] && return 0
  [ -e "$cache/libtorch-$torch_version/torch/lib/libtorch_cpu.so" ] && return 0
  local version
  version="$(python3 -c 'import torch; print(torch.__version__)' 2>/dev/null || true)"
  [ "${version%%+*}" = "$torch_version" ]
}

# pip_install WHAT REQUIREMENTS FOLDER: into a folder of its own first, so an interrupted download leaves nothing that
# looks complete.
pip_install() {
  local log
  log="$(mktemp)"
  rm -rf "$3.part"
  echo "setup: fetching $1, pinned and hashed, into $cache" >&2
  python3 -m pip install --quiet --no-deps --require-hashes --only-binary :all: --no-compile --disable-pip-version-check \
    --root-user-action ignore --target "$3.part" -r "$here/$2" >"$log" 2>&1 ||
    fail "pip could not fetch $1: $(grep -m1 -i 'error' "$log" || tail -n1 "$log")"
  rm -f "$log"
}

lock_cache() {
  mkdir -p "$cache"
  exec 9>"$cache/.lock"
  flock 9
}

fetch_libtorch() {
  have_libtorch && return 0
  lock_cache
  have_libtorch && return 0
  pip_install "LibTorch $torch_version (545 MB)" libtorch-requirements.txt "$cache/libtorch-$torch_version"
  mv "$cache/libtorch-$torch_version.part" "$cache/libtorch-$torch_version"
}

# The wheels carry libraries under the names of their versions, in lib; a linker asks for names without, nvcc for lib64.
name_for_linker() {
  local library
  for library in "$1"/lib/lib*.so.*; do ln -sf "${library##*/}" "${library%%.so.*}.so"; done
  ln -s lib "$1/lib64"
}

fetch_cuda() {
  local toolkit="$cache/cuda-$cuda_version"
  lock_cache
  if [ ! -d "$toolkit" ]; then
    pip_install "the CUDA $cuda_version compiler and headers (720 MB)" cuda-requirements.txt "$toolkit"
    name_for_linker "$toolkit.part/nvidia/cu13"
    mv "$toolkit.part" "$toolkit"
  fi
  echo "$toolkit/nvidia"
}

case "${1:-}" in
  build) install_packages $build_packages ;;
  test) install_packages $build_packages $test_packages ;;
  cuda) fetch_cuda; exit ;;
  *) fail "usage: bootstrap.sh build|test|cuda" ;;
esac
fetch_libtorch
