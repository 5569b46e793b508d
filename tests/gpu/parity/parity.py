#!/usr/bin/env python3
"""Every strategy on a GPU, with one, two and three ranks that share it, against a run of libddp in fp32 on a CPU.

parity.py HOST ORACLE OUT [PATTERN...]   trains ViT-S for 50 steps a case; only cases whose name holds a PATTERN
parity.py HOST --oracle ORACLE           trains the oracle again, on the CPU

All cases see the same 6 samples a step. fp32: the first step agrees to its last bits, the losses of all steps within
TOLERANCE. Other precisions: the mean error of the losses is at most COARSEST, and at most twice that of a run with one
process and libddp (fp16: libddp_fp16) in the same precision. Ends with 0 when all of it holds.
"""
import json
import os
import subprocess
import sys
import threading
import time

STEPS = 50
TRAINING = ["--model.size=small", f"--train.max_steps={STEPS}", "--train.global_batch_size=6", "--optimizer.lr=5e-5",
            "--optimizer.schedule=constant", "--train.eval_every=0", "--train.save=false", "--run.seed=42"]
FIRST_LOSS, FIRST_NORM = 1e-5, 1e-4  # relative: of one forward, and of one forward and backward
TOLERANCE = 2e-5                     # relative, five times what rounding grew to in 50 steps of AdamW on an H100
COARSEST = 1e-2                      # mean relative error of any precision
LIMIT_S = 240
RANKS_AT_ONCE = max(6, (os.cpu_count() or 1) - 4)

DDP = ["--plugin=libddp.so"]
FP16 = ["--plugin=libddp_fp16.so", "--strategy.initial_scale_power=10"]
STRATEGIES = {
    "ddp": DDP,
    "zero1": ["--plugin=libzero.so", "--strategy.stage=1"],
    "zero2": ["--plugin=libzero.so", "--strategy.stage=2"],
    "zero3": ["--plugin=libzero.so", "--strategy.stage=3"],
    "zero2-offload": ["--plugin=libzero.so", "--strategy.stage=2", "--strategy.offload=optimizer"],
    "gemini-gpu": ["--plugin=libgemini.so"],
    "gemini-offload": ["--plugin=libgemini.so", "--strategy.parameter_offload=1", "--strategy.optimizer_offload=1"],
    "gemini-auto": ["--plugin=libgemini.so", "--strategy.placement=auto", "--strategy.device_budget_fraction=0.6"],
}


def cases():
    """Name, precision, ranks, arguments; a precision's one-process run first."""
    yield "ddp fp32 x1", "fp32", 1, DDP
    yield "ddp bf16 x1", "bf16", 1, DDP
    yield "ddp tf32 x1", "tf32", 1, DDP
    yield "ddp_fp16 fp16 x1", "fp16", 1, FP16
    for ranks in (3, 2, 1):
        for name, arguments in STRATEGIES.items():
            if name != "ddp" or ranks > 1:
                yield f"{name} fp32 x{ranks}", "fp32", ranks, arguments
    for ranks in (3, 1):
        for name, arguments in STRATEGIES.items():
            if name != "ddp" or ranks > 1:
                yield f"{name} bf16 x{ranks}", "bf16", ranks, arguments
    for ranks in (3, 2):
        yield f"ddp_fp16 fp16 x{ranks}", "fp16", ranks, FP16
    yield "zero3 fp16 x2", "fp16", 2, STRATEGIES["zero3"] + ["--strategy.initial_scale_power=10"]
    yield "gemini-offload fp16 x2", "fp16", 2, STRATEGIES["gemini-offload"] + ["--strategy.initial_scale_power=10"]
    yield "ddp tf32 x2", "tf32", 2, DDP


def steps_of(folder):
    with open(os.path.join(folder, "metrics.jsonl")) as lines:
        steps = [json.loads(line) for line in lines]
    return [{"loss": step["loss"], "grad_norm": step["grad_norm"]} for step in steps if "lr" in step]


class Case:
    def __init__(self, name, precision, ranks, arguments):
        self.name, self.precision, self.ranks, self.arguments = name, precision, ranks, arguments
        self.steps, self.failure, self.seconds = None, "", 0.0

    def run(self, host, out):
        folder = os.path.join(out, self.name.replace(" ", "-"))
        command = [host, "run", *TRAINING, *self.arguments, f"--train.precision={self.precision}",
                   f"--nproc={self.ranks}", "--device=cuda", "--run.threads=2", f"--run.out={folder}"]
        environment = dict(os.environ, CUDA_VISIBLE_DEVICES=os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0])
        begin = time.monotonic()
        try:
            done = subprocess.run(command, env=environment, timeout=LIMIT_S, capture_output=True, text=True)
            if done.returncode != 0:
                lines = done.stderr.strip().splitlines() or ["no message"]
                self.failure = f"exit {done.returncode}: {lines[-1][:300]}"
            else:
                self.steps = steps_of(folder)
        except subprocess.TimeoutExpired:
            self.failure = f"not done within {LIMIT_S} s"
        except (OSError, KeyError, ValueError) as error:
            self.failure = repr(error)
        if self.steps is not None and len(self.steps) != STEPS:
            self.failure = f"{len(self.steps)} steps instead of {STEPS}"
        self.seconds = time.monotonic() - begin
        print(f"{self.name}: {self.failure or 'ran'}, {self.seconds:.0f} s", flush=True)


def run_all(todo, host, out):
    """Side by side, as long as there are at most RANKS_AT_ONCE ranks."""
    room = threading.Condition()
    free = [RANKS_AT_ONCE]

    def run(case):
        case.run(host, out)
        with room:
            free[0] += case.ranks
            room.notify_all()

    threads = []
    for case in todo:
        with room:
            room.wait_for(lambda: free[0] >= case.ranks)
            free[0] -= case.ranks
        threads.append(threading.Thread(target=run, args=(case,)))
        threads[-1].start()
    for thread in threads:
        thread.join()


def gap(value, expected):
    return abs(value - expected) / abs(expected)


def judge(case, oracle, one_process):
    """A line about the case, and whether it holds."""
    if case.failure:
        return f"{case.name:26} FAILED {case.failure}", False
    errors = [gap(step["loss"], want["loss"]) for step, want in zip(case.steps, oracle)]
    mean = sum(errors) / len(errors)
    norm = gap(case.steps[0]["grad_norm"], oracle[0]["grad_norm"])
    if case.precision == "fp32":
        good = errors[0] <= FIRST_LOSS and norm <= FIRST_NORM and max(errors) <= TOLERANCE
        bound = f"max <= {TOLERANCE:.0e}"
    else:
        reference = one_process.setdefault(case.precision, mean)  # the first of a precision is the one-process run
        bound = f"mean <= 2 * {reference:.1e}"
        good = mean <= 2 * reference and mean <= COARSEST
    return (f"{case.name:26} {errors[0]:9.1e} {norm:9.1e} {mean:9.1e} {max(errors):9.1e}  {bound:20} "
            f"{'ok' if good else 'FAILED':6} {case.seconds:6.1f} s"), good


def main():
    if len(sys.argv) == 4 and sys.argv[2] == "--oracle":
        folder = sys.argv[3] + ".run"
        subprocess.run([sys.argv[1], "run", *TRAINING, *DDP, "--train.precision=fp32", "--device=cpu",
                        f"--run.out={folder}"], check=True)
        with open(sys.argv[3], "w") as file:
            file.write("[\n" + ",\n".join(json.dumps(step) for step in steps_of(folder)) + "\n]\n")
        return 0
    if len(sys.argv) < 4:
        print(__doc__)
        return 2
    host, oracle_file, out = sys.argv[1:4]
    with open(oracle_file) as file:
        oracle = json.load(file)
    todo = [Case(*case) for case in cases()]
    if sys.argv[4:]:
        todo = [case for case in todo if any(word in case.name for word in sys.argv[4:]) or
                case.arguments in (DDP, FP16) and case.ranks == 1]
    run_all(todo, host, out)
    print(f"{'relative error of':26} {'loss 1':>9} {'norm 1':>9} {'mean loss':>9} {'max loss':>9}")
    one_process, failed = {}, 0
    for case in todo:
        line, good = judge(case, oracle, one_process)
        print(line)
        failed += not good
    print(f"{len(todo)} cases, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
