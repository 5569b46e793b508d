#!/usr/bin/env bash
# freeze.sh TAG FOLDER: builds small plugins from the SDK and the examples as they are at TAG, with every compiler there is:
# g++, clang++, plain C, and with a C++ runtime of their own. What it writes is kept as it is: FOLDER/<plugin>-<compiler>.so,
# the layout, and SOURCES, which says of what and by what they were made.
set -euo pipefail
[ $# = 2 ] || { echo "usage: $0 TAG FOLDER" >&2; exit 2; }
readonly tag=$1
mkdir -p "$2"
readonly out="$(cd "$2" && pwd)"
readonly here="$(cd "$(dirname "$0")" && pwd)"
[ -z "$(ls -A "$out")" ] || { echo "$out is not empty: what is frozen is never built again" >&2; exit 1; }
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT

mkdir "$scratch/tree"
git -C "$(git -C "$here" rev-parse --show-toplevel)" archive --format=tar "$tag:sdk" | tar -x --no-same-owner -C "$scratch/tree"
mkdir -p "$scratch/sdk/lib/cmake"
cp -r "$scratch/tree/include" "$scratch/sdk/include"
cp -r "$scratch/tree/cmake" "$scratch/sdk/lib/cmake/Espalier"

# build NAME C-COMPILER C++-COMPILER STATIC_RUNTIME
build() {
  command -v "$2" >/dev/null && command -v "$3" >/dev/null || { echo "freeze: no $3, $1 is left out" >&2; return 0; }
  cmake -S "$scratch/tree/examples" -B "$scratch/$1" -DCMAKE_PREFIX_PATH="$scratch/sdk" -DCMAKE_BUILD_TYPE=MinSizeRel \
    -DCMAKE_C_COMPILER="$2" -DCMAKE_CXX_COMPILER="$3" -DSTATIC_RUNTIME="$4" -DEXAMPLES_CUDA=OFF >"$scratch/$1.log" 2>&1 &&
    cmake --build "$scratch/$1" >>"$scratch/$1.log" 2>&1 || { tail -20 "$scratch/$1.log" >&2; return 1; }
  local plugin
  for plugin in local_sgd local_sgd_c plain_ddp csv_images; do
    [ -e "$scratch/$1/lib$plugin.so" ] || continue
    strip --strip-unneeded -o "$out/$plugin-$1.so" "$scratch/$1/lib$plugin.so"
    echo "$plugin-$1.so $("$3" --version | head -n1)" >>"$out/SOURCES"
  done
}
echo "tag $tag commit $(git -C "$here" rev-parse "$tag^{commit}")" >"$out/SOURCES"
cp "$scratch"/tree/abi/*.layout "$out"
build gcc gcc g++ OFF
build gcc_static gcc g++ ON
build clang clang clang++ OFF
build clang_static clang clang++ ON
