"""What all peers share: the job, its data, how it is timed, and the JSON line that `host bench` reads.

The job is that of the host: ViT-B/16 on 224 pixels with three classes, cross entropy, AdamW, a whole step with the
update. Images are random bytes that stay on the device and are normalised there in every step.
"""

import argparse
import contextlib
import ctypes
import json
import os
import statistics
import sys
import time

import torch
import torch.distributed as dist
from torch import nn

CLASSES = 3
SIZES = {  # width, depth, heads
    "tiny": (192, 12, 3),
    "small": (384, 12, 6),
    "base": (768, 12, 12),
    "large": (1024, 24, 16),
}
PRECISIONS = ("fp32", "tf32", "bf16", "pure_bf16")
LEARNING_RATE = 1e-4
WEIGHT_DECAY = 0.01
BATCHES_KEPT = 4
SHORTEST_FOR_ENERGY = 0.5  # seconds; the counter moves some ten times a second


def fail(message):
    """Ends the process with one line, which becomes the reason in the row of `host bench`."""
    sys.exit(f"{os.path.basename(sys.argv[0])}: {message}")


def arguments(description, libraries=("timm", "hf")):
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--batch", type=int, default=32, help="of one process")
    parser.add_argument("--precision", choices=PRECISIONS, default="bf16", help="bf16: autocast; pure_bf16: weights too")
    parser.add_argument("--model", choices=("auto", *SIZES), default="auto", help="auto: base on a GPU, tiny on a CPU")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--library", choices=libraries, default=libraries[0])
    parser.add_argument("--steps", type=int, default=30, help="that are timed")
    parser.add_argument("--warmup", type=int, default=10, help="steps before them")
    parser.add_argument("--device", choices=("auto", "cuda", "cpu"), default="auto")
    return parser


class Place:
    """The device of this process, and its rank among those that torchrun started."""

    def __init__(self, device):
        self.world = int(os.environ.get("WORLD_SIZE", 1))
        self.rank = int(os.environ.get("RANK", 0))
        has_gpu = torch.cuda.is_available()
        if device == "cuda" and not has_gpu:
            fail("--device=cuda, but PyTorch finds no GPU")
        self.on_gpu = has_gpu and device != "cpu"
        self.device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0))) if self.on_gpu else torch.device("cpu")
        if self.on_gpu:
            torch.cuda.set_device(self.device)
        if "RANK" in os.environ:
            dist.init_process_group("nccl" if self.on_gpu else "gloo")

    def leave(self):
        if dist.is_initialized():
            dist.barrier()  # who leaves first would be a lost peer to the others
            dist.destroy_process_group()

    def name(self):
        return torch.cuda.get_device_name(self.device) if self.on_gpu else "CPU"

    def synchronize(self):
        if self.on_gpu:
            torch.cuda.synchronize()

    def largest(self, value):
        """Of all ranks."""
        if self.world == 1:
            return value
        values = torch.tensor([float(value)], dtype=torch.float64, device=self.device)
        dist.all_reduce(values, dist.ReduceOp.MAX)
        return values.item()

    def total(self, value):
        """Over all ranks; None when one of them has none."""
        if self.world == 1:
            return value
        values = torch.tensor([float("nan") if value is None else value], dtype=torch.float64, device=self.device)
        dist.all_reduce(values)
        return None if values.isnan().item() else values.item()


class Pixels(nn.Module):
    """A classifier behind the normalisation of bytes to [-1, 1]; its result is the logits."""

    def __init__(self, classifier, dtype, is_hf):
        super().__init__()
        self.classifier = classifier
        self.dtype = dtype
        self.is_hf = is_hf

    def forward(self, pixels):
        images = pixels.to(self.dtype) * (2 / 255) - 1
        return self.classifier(pixel_values=images).logits if self.is_hf else self.classifier(images)


def build(args, place):
    """The model on its device, in the dtype of its parameters."""
    torch.manual_seed(0)
    torch.set_float32_matmul_precision("high" if args.precision == "tf32" else "highest")
    torch.backends.cudnn.allow_tf32 = args.precision == "tf32"
    if args.model == "auto":
        args.model = "base" if place.on_gpu else "tiny"
    classifier = build_timm(args) if args.library == "timm" else build_hf(args)
    dtype = torch.bfloat16 if args.precision == "pure_bf16" else torch.float32
    return Pixels(classifier, dtype, args.library == "hf").to(place.device, dtype).train()


def build_timm(args):
    try:
        import timm
    except ImportError as error:
        fail(f"timm cannot be imported ({error}); pip install timm")
    return timm.create_model(f"vit_{args.model}_patch16_224", img_size=args.image_size, num_classes=CLASSES)


def build_hf(args):
    try:
        from transformers import ViTConfig, ViTForImageClassification
    except ImportError as error:
        fail(f"transformers cannot be imported ({error}); pip install transformers")
    width, depth, heads = SIZES[args.model]
    return ViTForImageClassification(
        ViTConfig(
            hidden_size=width,
            num_hidden_layers=depth,
            num_attention_heads=heads,
            intermediate_size=4 * width,
            image_size=args.image_size,
            num_labels=CLASSES,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            attn_implementation="sdpa",
        )
    )


def blocks_of(model):
    """The transformer's blocks, in order."""
    classifier = model.classifier
    if not model.is_hf:
        return classifier.blocks
    return classifier.vit.encoder.layer if hasattr(classifier.vit, "encoder") else classifier.vit.layers


def adamw(parameters):
    return torch.optim.AdamW(parameters, lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY, fused=True)


class Step:
    """One training step, on batches that take turns."""

    def __init__(self, args, place, model, optimizer, autocasts=None):
        self.model, self.optimizer = model, optimizer
        autocasts = args.precision == "bf16" if autocasts is None else autocasts
        kind = place.device.type
        self.context = (lambda: torch.autocast(kind, torch.bfloat16)) if autocasts else contextlib.nullcontext
        generator = torch.Generator(place.device).manual_seed(place.rank)
        shape = (args.batch, 3, args.image_size, args.image_size)
        self.batches = [
            (
                torch.randint(0, 256, shape, dtype=torch.uint8, device=place.device, generator=generator),
                torch.randint(0, CLASSES, (args.batch,), device=place.device, generator=generator),
            )
            for _ in range(BATCHES_KEPT)
        ]
        self.count = 0

    def __call__(self):
        pixels, labels = self.batches[self.count % BATCHES_KEPT]
        self.count += 1
        with self.context():
            loss = nn.functional.cross_entropy(self.model(pixels).float(), labels)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss


class Energy:
    """The GPU's own counter, through NVML; None where there is none."""

    def __init__(self, place):
        self.library = self.device = None
        if not place.on_gpu:
            return
        try:
            library = ctypes.CDLL("libnvidia-ml.so.1")
            uuid = f"GPU-{torch.cuda.get_device_properties(place.device).uuid}".encode()
            device = ctypes.c_void_p()
            if library.nvmlInit_v2() == 0 and library.nvmlDeviceGetHandleByUUID(uuid, ctypes.byref(device)) == 0:
                self.library, self.device = library, device
        except (OSError, AttributeError):
            pass

    def joules(self):
        millijoules = ctypes.c_ulonglong()
        if self.library is None:
            return None
        if self.library.nvmlDeviceGetTotalEnergyConsumption(self.device, ctypes.byref(millijoules)) != 0:
            return None
        return millijoules.value * 1e-3


class Clock:
    """Moments on the device's clock: GPU events, or the host's clock on a CPU, where steps are done when they return."""

    def __init__(self, on_gpu):
        self.on_gpu = on_gpu

    def mark(self):
        if not self.on_gpu:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def ms(self, begin, end):
        return begin.elapsed_time(end) if self.on_gpu else (end - begin) * 1e3


def run(args, place, step):
    """Warm-up, timed steps without a pause, and the JSON line of rank 0."""
    for _ in range(args.warmup):
        step()
    place.synchronize()
    energy, clock = Energy(place), Clock(place.on_gpu)
    joules_before, wall_before = energy.joules(), time.perf_counter()
    marks = [clock.mark()]
    for _ in range(args.steps):
        loss = step()
        marks.append(clock.mark())
    place.synchronize()
    wall, joules_after = time.perf_counter() - wall_before, energy.joules()
    if not torch.isfinite(loss).item():
        fail("the loss is not finite")
    step_ms = [clock.ms(begin, end) for begin, end in zip(marks, marks[1:])]
    joules = None
    if joules_before is not None and joules_after is not None and wall >= SHORTEST_FOR_ENERGY:
        joules = joules_after - joules_before
    report(args, place, step_ms, place.total(joules))


def report(args, place, step_ms, joules):
    global_batch = args.batch * place.world
    line = {
        "samples_per_second": 1e3 * global_batch * len(step_ms) / sum(step_ms),
        "step_ms_median": statistics.median(step_ms),
        "step_ms": step_ms,
        "model": f"{args.library} vit {args.model}, {args.image_size} px",
        "precision": args.precision,
        "device": place.device.type,
        "device_name": place.name(),
        "world_size": place.world,
        "batch_size": args.batch,
        "global_batch_size": global_batch,
        "train_samples": global_batch * (args.warmup + args.steps),
        "torch": torch.__version__,
    }
    if joules is not None:
        line["joules_per_step"] = joules / len(step_ms)
        line["joules_per_sample"] = joules / len(step_ms) / global_batch
    if place.on_gpu:
        free, total = torch.cuda.mem_get_info()
        line["peak_allocated_bytes"] = int(place.largest(torch.cuda.max_memory_allocated()))
        line["peak_device_bytes"] = int(place.largest(total - free))
    if place.rank == 0:
        print(json.dumps(line), flush=True)
