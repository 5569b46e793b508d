#!/bin/bash
# All checks of the fused executor on a machine with a GPU, for the folder that holds fused_check and libvit_cuda.so.
# Ends with 0 when all passed. What failed is printed once more at the end.
cd "$(dirname "$0")"
# The CUDA libraries of this machine's torch, where there is one.
torch_folders=$(python3 - <<'PY' 2>/dev/null
import glob, os, torch
root = os.path.dirname(os.path.dirname(torch.__file__))
print(":".join(glob.glob(root + "/nvidia/*/lib") + [os.path.dirname(torch.__file__) + "/lib"]))
PY
)
export LD_LIBRARY_PATH="$torch_folders:/usr/local/cuda/lib64:$LD_LIBRARY_PATH"
export ESPALIER_CACHE=${ESPALIER_CACHE:-/tmp/espalier-cache}
log=/tmp/fused-check.log
: > $log
failed=0
part() {  # name, seconds, command...
  local name=$1 limit=$2 begin=$SECONDS
  shift 2
  echo "== $name"
  timeout "$limit" "$@" > /tmp/part.log 2>&1
  local rc=$?
  cat /tmp/part.log >> $log
  # Only what a reader needs: failures, and the last lines.
  grep -E "FAIL|failed|CUDA|rror" /tmp/part.log | head -${lines:-25} | cut -c1-220
  if [ -n "$whole" ]; then grep -vE "FAIL" /tmp/part.log | tail -$whole | cut -c1-200; fi
  [ $rc -eq 0 ] || { failed=1; echo "-- $name: exit $rc"; [ $rc -lt 124 ] && [ $rc -ne 1 ] && tail -5 /tmp/part.log; }
  echo "   ($((SECONDS - begin)) s)"
}
nvidia-smi --query-gpu=name,clocks.max.sm,power.limit --format=csv,noheader
whole=1 part "kernels" 120 ./fused_check kernels
if [ "$1" = "sanitize" ] && command -v compute-sanitizer >/dev/null; then
  for tool in memcheck racecheck synccheck; do
    whole=2 lines=12 part "sanitizer $tool" 150 compute-sanitizer --tool $tool --print-limit 8 ./fused_check kernels small
  done
fi
whole=60 part "step" 200 ./fused_check step ./libvit_cuda.so
folder=/dev/shm/fused-dump
mkdir -p $folder
for job in "mini 5 bf16" "mini 5 fp16" "base 8 bf16" "base 32 bf16" "base 128 bf16"; do
  set -- $job
  part "dump $job" 100 ./fused_check dump ./libvit_cuda.so $folder $1 $2 $3
  whole=7 part "compare $job" 100 python3 compare.py $folder
done
rm -rf $folder
whole=12 part "time" 200 ./fused_check time ./libvit_cuda.so 8 32 128 256
echo "== FAILED: $(grep -c FAIL $log)"
exit $failed
