#!/bin/bash
# All checks of Espalier on a machine with GPUs, out of the unpacked package: run_gpu_tests.sh [PART...]
#   tests     ctest: labels gpu1, and gpu2 where there are two GPUs
#   parity    every strategy with 1, 2 and 3 ranks on one GPU against a run on a CPU
#   sanitize  compute-sanitizer over the kernels, where there is one (on the PATH)
#   fused     the fused executor against LibTorch, and its times
# Without PART: tests, parity, sanitize.
# Needs a python3 that has torch (or ESPALIER_LIBTORCH), and ctest. Logs go to $OUT, else to a folder in /tmp. Ends with 0
# when nothing failed. ESPALIER_GPU_TESTS_REQUIRED=1: a test that is skipped for want of a GPU has failed.
here=$(cd "$(dirname "$0")" && pwd)
logs=${OUT:-$(mktemp -d /tmp/espalier-gpu-tests.XXXXXX)}
work=$(mktemp -d /tmp/espalier-gpu-work.XXXXXX)
trap 'rm -rf "$work"' EXIT
export ESPALIER_STAGE=$here/.. ESPALIER_CACHE=$work/cache
host=$ESPALIER_STAGE/bin/host

# The folders of LibTorch and of the CUDA libraries that came with it.
torch=${ESPALIER_LIBTORCH:-$(python3 -c "import importlib.util as u; print(u.find_spec('torch').submodule_search_locations[0])" 2>/dev/null)}
[ -d "$torch/torch" ] && torch=$torch/torch
if [ ! -e "$torch/lib/libtorch_cpu.so" ]; then
  echo "no LibTorch: set ESPALIER_LIBTORCH, or install a python3 package torch"
  exit 1
fi
export ESPALIER_LIBTORCH=$torch
export LD_LIBRARY_PATH=$torch/lib$(printf ':%s' "$torch"/../nvidia/*/lib)${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}

gpus=$(nvidia-smi --query-gpu=name --format=csv,noheader 2>/dev/null | grep -c .)
echo "GPUs: $gpus $(nvidia-smi --query-gpu=name --format=csv,noheader 2>/dev/null | sort | uniq -c | tr -s ' ' | tr '\n' ' ')"
failed=0

# label, jobs side by side
run_ctest() {
  ctest --test-dir "$here" -L "^$1\$" -j "$2" --output-on-failure > "$logs/ctest-$1.txt" 2>&1 || failed=1
  grep -E "Passed|Failed|Skipped|Timeout|Not Run|No tests" "$logs/ctest-$1.txt" | grep -E "^ *[0-9]+/|No tests"
  grep -E "\] .*(Failure|FAILED)|Failure$|FAILED|needs a GPU|Value of|Expected|Which is|actual" "$logs/ctest-$1.txt" |
    head -40 | cut -c1-220
}

part_tests() {
  run_ctest gpu1 2
  [ "$gpus" -lt 2 ] || run_ctest gpu2 1
}

# Whether the rest of a part can run at all.
has_gpu() {
  [ "$gpus" -gt 0 ] && return 0
  echo "skipped: no GPU"
  [ -z "$ESPALIER_GPU_TESTS_REQUIRED" ] || failed=1
  return 1
}

part_parity() {
  has_gpu || return
  python3 "$here/parity/parity.py" "$host" "$here/parity/oracle.json" "$work/parity" $PARITY_CASES \
    > "$logs/parity.txt" 2>&1 || failed=1
  grep -v ": ran, " "$logs/parity.txt"
}

# tool, name of the log, command...
sanitize() {
  local tool=$1 log=$logs/$1-$2.txt
  shift 2
  timeout 280 compute-sanitizer --tool "$tool" --report-api-errors no --print-limit 20 --error-exitcode 99 \
    --kernel-name-exclude kernel_substring=nvjet "$@" > "$log" 2>&1
  local rc=$?
  [ $rc -eq 0 ] || touch "$work/sanitizer-failed"
  echo "$tool, ${1##*/}: exit $rc, $(grep -E 'SUMMARY' "$log" | tail -1 | sed 's/=* *//')"
  [ $rc -eq 0 ] || grep -E "=====|FAILED" "$log" | grep -v "Saved host" | head -30 | cut -c1-200
}

# Not under it: what blocks a stream on purpose or waits for one of the CPU, since the tools wait for every launch; and
# cuBLASLt's own kernels, whose launches in clusters the tools cannot follow. One tool at a time: each keeps a shadow of
# the device's memory.
part_sanitize() {
  has_gpu || return
  if ! command -v compute-sanitizer > /dev/null; then
    echo "not available: no compute-sanitizer on the PATH"
    return
  fi
  local suites='KernelsOnAGpu.*:UpdateKernelsOnAGpu.*:NumbersOnAGpu.*:UpdateOnAGpu.*-*LongerThanALaunch*:*WaitsForTheNorm*:*EveryKindOfStream*'
  for tool in memcheck racecheck synccheck; do
    sanitize $tool device "$here/bin/gpu1_device_test" "--gtest_filter=$suites" &
    sanitize $tool kernels "$here/fused/fused_check" kernels small &
    sanitize $tool step "$here/fused/fused_check" step "$ESPALIER_STAGE/lib/libvit_cuda.so" small &
    wait
  done
  [ ! -e "$work/sanitizer-failed" ] || failed=1
}

part_fused() {
  has_gpu || return
  bash "$here/fused/run.sh" > "$logs/fused.txt" 2>&1 || failed=1
  tail -25 "$logs/fused.txt"
}

for part in ${@:-tests parity sanitize}; do
  case $part in
    tests | parity | sanitize | fused) ;;
    *)
      echo "no part '$part'; there are tests, parity, sanitize, fused"
      exit 2
      ;;
  esac
  begin=$SECONDS
  echo "== $part"
  part_$part
  echo "-- $part: $((SECONDS - begin)) s"
done
echo "logs: $logs"
[ $failed -eq 0 ] && echo "nothing failed" || echo "SOMETHING FAILED"
exit $failed
