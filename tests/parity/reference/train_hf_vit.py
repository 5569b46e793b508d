#!/usr/bin/env python3
"""The oracle of the parity tests: trains transformers' ViTForImageClassification the way `host run` says it does.

Needs torch, transformers and Pillow; the project itself needs none of them. Prints JSON lines:
  {"event": "step", "step": 1, "epoch": 0.17, "loss": ..., "lr": ..., "grad_norm": ..., "samples": 4}
  {"event": "eval", "epoch": 1, "split": "validation", "loss": ..., "correct": 7, "samples": 10}
`loss` is the mean over the step's samples, `lr` the one used in this step, `grad_norm` unscaled and before clipping.

Several ranks and micro-batches are simulated in one process: every step's samples are cut into contiguous
micro-batches, number m * world + r is micro-batch m of rank r, and each sample's loss is divided by the samples of the
step.
"""
import argparse
import fnmatch
import json
import math
import os
import sys

import numpy as np
import torch
from PIL import Image
from transformers import (ViTForImageClassification, get_constant_schedule_with_warmup, get_cosine_schedule_with_warmup,
                          get_linear_schedule_with_warmup)

SCHEDULES = {
    "constant": lambda optimizer, warmup, total: get_constant_schedule_with_warmup(optimizer, warmup),
    "linear": get_linear_schedule_with_warmup,
    "cosine": get_cosine_schedule_with_warmup,
}
DTYPES = {"fp64": torch.float64, "fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def parse(argv):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", required=True, help="HF folder: config.json, preprocessor_config.json, model.safetensors")
    p.add_argument("--data", required=True, help="folder with train/ validation/ test/ of <class>/*.jpg")
    p.add_argument("--batch_size", type=int, default=4, help="of one micro-batch on one rank")
    p.add_argument("--accumulation_steps", type=int, default=1)
    p.add_argument("--world", type=int, default=1)
    p.add_argument("--optimizer", choices=["adamw", "sgd"], default="adamw")
    p.add_argument("--lr", type=float, default=5e-5)
    p.add_argument("--weight_decay", type=float, default=0.01)
    p.add_argument("--betas", type=float, nargs=2, default=[0.9, 0.999])
    p.add_argument("--eps", type=float, default=1e-8)
    p.add_argument("--momentum", type=float, default=0.9)
    p.add_argument("--clip_norm", type=float, default=0.0)
    p.add_argument("--schedule", choices=sorted(SCHEDULES), default="cosine")
    p.add_argument("--warmup_steps", type=int, default=0)
    p.add_argument("--warmup_ratio", type=float, default=0.0, help="used when warmup_steps is 0")
    p.add_argument("--epochs", type=int, default=3)
    p.add_argument("--max_steps", type=int, default=0, help="0: epochs decide")
    p.add_argument("--limit", type=int, default=0, help="samples per split; 0: all")
    p.add_argument("--drop_last", action="store_true")
    p.add_argument("--freeze", nargs="*", default=[], help="patterns with * and ? for whole parameter names")
    p.add_argument("--attention", choices=["eager", "sdpa"], default="eager")
    p.add_argument("--precision", choices=sorted(DTYPES), default="fp32", help="bf16, fp16: fp32 masters")
    p.add_argument("--loss_scale", type=float, default=1.0, help="constant; for fp16")
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--save", help="folder for the trained weights")
    return p.parse_args(argv)


class Images:
    """A split as uint8 pixels and labels, in bytewise order of class folders and of files in them."""

    def __init__(self, folder, split, processor, image_size, limit):
        root = os.path.join(folder, split)
        classes = sorted((e for e in os.listdir(root) if os.path.isdir(os.path.join(root, e))), key=os.fsencode)
        samples = [(label, os.path.join(root, name, file)) for label, name in enumerate(classes)
                   for file in sorted(os.listdir(os.path.join(root, name)), key=os.fsencode)
                   if file.lower().endswith((".jpg", ".jpeg"))]
        samples = samples[:limit] if limit else samples
        self.labels = torch.tensor([label for label, _ in samples])
        resample = Image.Resampling(processor.get("resample", 2))
        pixels = [np.asarray(Image.open(path).convert("RGB").resize((image_size, image_size), resample))
                  for _, path in samples]
        self.pixels = torch.from_numpy(np.stack(pixels))
        self.mean = torch.tensor(processor.get("image_mean", [0.5] * 3), dtype=torch.float64).view(1, 3, 1, 1)
        self.std = torch.tensor(processor.get("image_std", [0.5] * 3), dtype=torch.float64).view(1, 3, 1, 1)

    def __len__(self):
        return len(self.labels)

    def batch(self, begin, end, dtype):
        pixels = self.pixels[begin:end].permute(0, 3, 1, 2)
        scaled = (pixels.to(torch.float64) / 255.0 - self.mean) / self.std
        return scaled.to(torch.float32).to(dtype), self.labels[begin:end]


class Trainer:
    def __init__(self, args):
        self.args = args
        self.compute = DTYPES[args.precision]
        self.master = torch.float64 if args.precision == "fp64" else torch.float32
        self.model = ViTForImageClassification.from_pretrained(
            args.model, attn_implementation=args.attention, torch_dtype=torch.float32).to(self.compute).train()
        masters = ViTForImageClassification.from_pretrained(args.model, torch_dtype=torch.float32).to(self.master)
        initial = dict(masters.named_parameters())
        self.trained = []  # (name, parameter of the model, master that the optimizer works on)
        for name, parameter in self.model.named_parameters():
            if any(fnmatch.fnmatchcase(name, pattern) for pattern in args.freeze):
                parameter.requires_grad_(False)
                continue
            master = torch.nn.Parameter(initial[name].detach().clone())
            self.trained.append((name, parameter, master))
        with open(os.path.join(args.model, "preprocessor_config.json"), encoding="utf-8") as file:
            processor = json.load(file)
        size = self.model.config.image_size
        self.train = Images(args.data, "train", processor, size, args.limit)
        self.validation = Images(args.data, "validation", processor, size, args.limit)
        self.global_batch = args.batch_size * args.accumulation_steps * args.world
        full, rest = divmod(len(self.train), self.global_batch)
        self.steps_per_epoch = full + (1 if rest and not args.drop_last else 0)
        self.total = args.max_steps or args.epochs * self.steps_per_epoch
        self.optimizer = self.make_optimizer()
        warmup = args.warmup_steps or math.ceil(args.warmup_ratio * self.total)
        self.scheduler = SCHEDULES[args.schedule](self.optimizer, warmup, self.total)

    def make_optimizer(self):
        args = self.args
        groups = [{"params": [m for _, _, m in self.trained if m.ndim > 1], "weight_decay": args.weight_decay},
                  {"params": [m for _, _, m in self.trained if m.ndim <= 1], "weight_decay": 0.0}]
        if args.optimizer == "sgd":
            return torch.optim.SGD(groups, lr=args.lr, momentum=args.momentum)
        return torch.optim.AdamW(groups, lr=args.lr, betas=tuple(args.betas), eps=args.eps, foreach=False)

    def publish(self):
        """Masters to the model that computes."""
        with torch.no_grad():
            for _, parameter, master in self.trained:
                parameter.copy_(master)

    def sample_losses(self, images, begin, end):
        pixels, labels = images.batch(begin, end, self.compute)
        logits = self.model(pixel_values=pixels).logits
        wide = logits if self.compute == torch.float64 else logits.float()
        return torch.nn.functional.cross_entropy(wide, labels, reduction="none"), logits, labels

    def step(self, begin, end):
        """One optimizer step over samples [begin, end) of the training split."""
        args = self.args
        self.publish()
        self.model.zero_grad(set_to_none=True)
        total = 0.0
        for micro in range(args.accumulation_steps * args.world):
            lo = begin + micro * args.batch_size
            hi = min(lo + args.batch_size, end)
            if lo >= hi:
                continue
            losses, _, _ = self.sample_losses(self.train, lo, hi)
            (losses.sum() * (args.loss_scale / (end - begin))).backward()
            total += losses.detach().double().sum().item()
        for _, parameter, master in self.trained:
            master.grad = parameter.grad.to(self.master) / args.loss_scale
        masters = [master for _, _, master in self.trained]
        norm = torch.nn.utils.clip_grad_norm_(masters, args.clip_norm or math.inf, foreach=False)
        lr = self.scheduler.get_last_lr()[0]
        self.optimizer.step()
        self.scheduler.step()
        return total / (end - begin), lr, norm.item()

    def evaluate(self, images):
        self.publish()
        self.model.eval()
        total, correct = 0.0, 0
        with torch.no_grad():
            for begin in range(0, len(images), self.args.batch_size):
                end = min(begin + self.args.batch_size, len(images))
                losses, logits, labels = self.sample_losses(images, begin, end)
                total += losses.double().sum().item()
                correct += (logits.argmax(-1) == labels).sum().item()
        self.model.train()
        return total / len(images), correct

    def run(self, tell):
        done, epoch = 0, 0
        while done < self.total:
            for k in range(self.steps_per_epoch):
                if done == self.total:
                    break
                begin = k * self.global_batch
                end = min(begin + self.global_batch, len(self.train))
                loss, lr, norm = self.step(begin, end)
                done += 1
                tell({"event": "step", "step": done, "epoch": epoch + (k + 1) / self.steps_per_epoch, "loss": loss,
                      "lr": lr, "grad_norm": norm, "samples": end - begin})
            epoch += 1
            loss, correct = self.evaluate(self.validation)
            tell({"event": "eval", "epoch": epoch, "split": "validation", "loss": loss, "correct": correct,
                  "samples": len(self.validation)})
        if self.args.save:
            self.publish()
            self.model.float().save_pretrained(self.args.save)


def train(argv):
    """The records of a run, as a list."""
    args = parse(argv)
    torch.set_num_threads(args.threads)
    torch.use_deterministic_algorithms(True)
    records = []
    Trainer(args).run(records.append)
    return records


def main():
    args = parse(sys.argv[1:])
    torch.set_num_threads(args.threads)
    Trainer(args).run(lambda record: print(json.dumps(record), flush=True))


if __name__ == "__main__":
    main()
