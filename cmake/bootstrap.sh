#!/usr/bin/env bash
# Installs what is missing on a Debian 12 machine, as root or with sudo; does nothing (and needs neither) where all is there.
#   bootstrap.sh build   what building and running needs, and LibTorch in a cache outside the build folder
#   bootstrap.sh test    the same, and what the tests need
set -euo pipefail

readonly torch_version=2.11.0
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

# Into a folder of its own first: an interrupted download leaves nothing that looks complete.
fetch_libtorch() {
  have_libtorch && return 0
  mkdir -p "$cache"
  exec 9>"$cache/.lock"
  flock 9
  have_libtorch && return 0
  local part log
  part="$cache/libtorch-$torch_version.part"
  log="$(mktemp)"
  rm -rf "$part"
  echo "setup: fetching LibTorch $torch_version (545 MB, pinned and hashed) into $cache"
  python3 -m pip install --quiet --no-deps --require-hashes --only-binary :all: --no-compile --disable-pip-version-check \
    --root-user-action ignore --target "$part" -r "$here/libtorch-requirements.txt" >"$log" 2>&1 ||
    fail "pip could not fetch LibTorch: $(grep -m1 -i 'error' "$log" || tail -n1 "$log")"
  mv "$part" "$cache/libtorch-$torch_version"
  rm -f "$log"
}

case "${1:-}" in
  build) install_packages $build_packages ;;
  test) install_packages $build_packages $test_packages ;;
  *) fail "usage: bootstrap.sh build|test" ;;
esac
fetch_libtorch
