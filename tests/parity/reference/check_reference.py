#!/usr/bin/env python3
"""Checks the oracle against itself: python3 tests/parity/reference/check_reference.py tests/parity/data

1. fp32 against fp64: the oracle's own rounding must be a small part of the parity tolerances.
2. Ranks x accumulation: any cut of the same global batch is the same step.
3. eager against sdpa attention.
4. Learning rates against the closed forms, AdamW and the gradient norm against numpy.
5. Evaluations: no image so close between two classes that rounding could change its count.
6. Images and normalisation against transformers' own ViTImageProcessor.
7. Planted mistakes: each must move a golden by more than the tests tolerate, else the goldens prove nothing.
"""
import json
import math
import os
import sys

import numpy as np
import torch
from PIL import Image
from transformers import ViTImageProcessor

import make_goldens
import train_hf_vit

FIRST, DOZEN = 1e-5, 2e-5  # the tests' relative tolerances


def gap(a, b):
    return abs(a - b) / max(abs(b), 1e-12)


def worst(one, two):
    """Largest relative gap of (first step, all steps, evaluations)."""
    s1, e1 = make_goldens.split_records(one)
    s2, e2 = make_goldens.split_records(two)
    assert len(s1) == len(s2) and len(e1) == len(e2), "different numbers of steps"
    steps = [max(gap(a["loss"], b["loss"]), gap(a["grad_norm"], b["grad_norm"])) for a, b in zip(s1, s2)]
    assert all(a["lr"] == b["lr"] and a["samples"] == b["samples"] for a, b in zip(s1, s2))
    assert all(a["correct"] == b["correct"] for a, b in zip(e1, e2)), "evaluations count differently"
    return steps[0], max(steps), max(gap(a["loss"], b["loss"]) for a, b in zip(e1, e2))


def check_runs(data):
    for name, (checkpoint, settings) in make_goldens.CASES.items():
        base = make_goldens.run_reference(data, checkpoint, settings)
        for label, other in {
                "fp64": make_goldens.run_reference(data, checkpoint, settings, precision="fp64"),
                "2 ranks": make_goldens.run_reference(data, checkpoint, settings, world=2),
                "sdpa": make_goldens.run_reference(data, checkpoint, settings, extra=["--attention=sdpa"])}.items():
            first, steps, evaluations = worst(base, other)
            print(f"{name:20} {label:8} first {first:.1e}  all {steps:.1e}  eval {evaluations:.1e}")
            assert first < FIRST / 4 and steps < DOZEN / 4 and evaluations < DOZEN / 4, (name, label)


def check_schedules(data):
    goldens = json.load(open(os.path.join(data, "goldens.json"), encoding="utf-8"))
    for case in goldens["cases"]:
        settings, total = case["settings"], len(case["steps"])
        warmup = settings.get("optimizer.warmup_steps", math.ceil(settings.get("optimizer.warmup_ratio", 0) * total))
        for k, record in enumerate(case["steps"]):
            left = (total - k) / max(1, total - warmup)
            factor = {"constant": 1.0, "linear": left, "cosine": 0.5 * (1 + math.cos(math.pi * (1 - left)))}
            expected = k / max(1, warmup) if k < warmup else factor[settings["optimizer.schedule"]]
            assert math.isclose(record["lr"], settings["optimizer.lr"] * expected, rel_tol=1e-12, abs_tol=1e-18), \
                case["name"]


def check_adamw(data):
    """Three steps of AdamW with decay groups and clipping, written out."""
    clip, lr, decay, (b1, b2), eps = 0.5, 1e-3, 0.05, (0.9, 0.999), 1e-8
    args = [f"--model={data}/small", f"--data={data}/images", "--precision=fp64", f"--clip_norm={clip}", f"--lr={lr}",
            f"--weight_decay={decay}", "--schedule=constant"]
    trainer = train_hf_vit.Trainer(train_hf_vit.parse(args))
    mine = {name: master.detach().numpy().copy() for name, _, master in trainer.trained}
    m = {name: np.zeros_like(value) for name, value in mine.items()}
    v = {name: np.zeros_like(value) for name, value in mine.items()}
    for t in range(1, 4):
        _, _, norm = trainer.step(4 * t - 4, 4 * t)
        gradients = {name: p.grad.numpy() for name, p, _ in trainer.trained}
        own = math.sqrt(sum((g ** 2).sum() for g in gradients.values()))
        assert gap(own, norm) < 1e-12
        for name, value in mine.items():
            g = gradients[name] * min(1.0, clip / (own + 1e-6))
            value *= 1 - lr * (decay if value.ndim > 1 else 0)
            m[name] = b1 * m[name] + (1 - b1) * g
            v[name] = b2 * v[name] + (1 - b2) * g * g
            value -= lr * (m[name] / (1 - b1 ** t)) / (np.sqrt(v[name] / (1 - b2 ** t)) + eps)
    for name, _, master in trainer.trained:
        np.testing.assert_allclose(mine[name], master.detach().numpy(), rtol=1e-9, atol=1e-12, err_msg=name)


class DecaysEverything(train_hf_vit.Trainer):
    def make_optimizer(self):
        optimizer = super().make_optimizer()
        optimizer.param_groups[1]["weight_decay"] = self.args.weight_decay
        return optimizer


class DecaysNothing(train_hf_vit.Trainer):
    def make_optimizer(self):
        optimizer = super().make_optimizer()
        optimizer.param_groups[0]["weight_decay"] = 0.0
        return optimizer


class DropsShortBatch(train_hf_vit.Trainer):
    """Weights a short batch as if it were full."""

    def sample_losses(self, images, begin, end):
        losses, logits, labels = super().sample_losses(images, begin, end)
        return losses * ((end - begin) / self.args.batch_size if self.model.training else 1), logits, labels


class ForgetsNormEps(train_hf_vit.Trainer):
    def __init__(self, args):
        super().__init__(args)
        for module in self.model.modules():
            if isinstance(module, torch.nn.LayerNorm):
                module.eps = 1e-12


class ForgetsBeta(train_hf_vit.Trainer):
    def __init__(self, args):
        args.betas = [0.9, 0.999]
        super().__init__(args)


class TanhGelu(train_hf_vit.Trainer):
    def __init__(self, args):
        super().__init__(args)
        for layer in self.model.vit.encoder.layer:
            layer.intermediate.intermediate_act_fn = torch.nn.GELU(approximate="tanh")


def check_mistakes(data):
    for mistake, name in [(DecaysEverything, "plain"), (DecaysNothing, "linear_warmup"), (ForgetsBeta, "constant"),
                          (DropsShortBatch, "accumulation"), (ForgetsNormEps, "constant"), (TanhGelu, "plain")]:
        checkpoint, settings = make_goldens.CASES[name]
        args = [f"--model={data}/{checkpoint}", f"--data={data}/images", *make_goldens.reference_flags(settings, 1)]
        right, wrong = [], []
        train_hf_vit.Trainer(train_hf_vit.parse(args)).run(right.append)
        mistake(train_hf_vit.parse(args)).run(wrong.append)
        steps = [(a, b) for a, b in zip(right, wrong) if a["event"] == "step"]
        moved = max(max(gap(b["loss"], a["loss"]), gap(b["grad_norm"], a["grad_norm"])) for a, b in steps)
        print(f"{mistake.__name__:20} moves {name} by {moved:.1e}")
        assert moved > DOZEN, (mistake.__name__, moved)


def check_images(data):
    for name in make_goldens.CHECKPOINTS:
        folder = os.path.join(data, name)
        args = train_hf_vit.parse([f"--model={folder}", f"--data={data}/images"])
        trainer = train_hf_vit.Trainer(args)
        processor = ViTImageProcessor.from_pretrained(folder)
        root = os.path.join(data, "images", "validation")
        paths = [os.path.join(root, c, f) for c in sorted(os.listdir(root))
                 for f in sorted(os.listdir(os.path.join(root, c)))]
        theirs = processor([Image.open(p).convert("RGB") for p in paths], return_tensors="pt")["pixel_values"]
        ours, _ = trainer.validation.batch(0, len(paths), torch.float32)
        assert torch.allclose(ours, theirs, rtol=0, atol=2e-6), (name, (ours - theirs).abs().max())


def check_margins(data):
    for case, (checkpoint, settings) in make_goldens.CASES.items():
        trainer = train_hf_vit.Trainer(train_hf_vit.parse(
            [f"--model={data}/{checkpoint}", f"--data={data}/images", *make_goldens.reference_flags(settings, 1)]))
        margins = []
        evaluate = trainer.evaluate

        def watched(images):
            trainer.publish()
            with torch.no_grad():
                top = trainer.sample_losses(images, 0, len(images))[1].topk(2).values
            margins.append((top[:, 0] - top[:, 1]).min().item())
            return evaluate(images)

        trainer.evaluate = watched
        trainer.run(lambda record: None)
        assert min(margins) > 1e-3, (case, min(margins))


def main():
    data = sys.argv[1]
    torch.set_num_threads(1)
    check_schedules(data)
    check_adamw(data)
    check_images(data)
    check_margins(data)
    check_mistakes(data)
    check_runs(data)
    print("the oracle agrees with itself")


if __name__ == "__main__":
    main()
