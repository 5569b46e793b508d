#!/usr/bin/env python3
"""Writes tests/parity/data: tiny random HF checkpoints, a small image folder, and what PyTorch does with them.

Run by hand when a case is added:  python3 tests/parity/reference/make_goldens.py tests/parity/data
Checkpoints and images already there are kept, so that goldens can be renewed without touching them.
"""
import json
import os
import sys

import numpy as np
import PIL
import torch
import transformers
from PIL import Image, ImageDraw
from safetensors.torch import save_file
from transformers import ViTConfig, ViTForImageClassification

import train_hf_vit

CLASSES = ["angular_leaf_spot", "bean_rust", "healthy"]
SPLITS = {"train": [9, 8, 6], "validation": [4, 3, 3], "test": [2, 3, 2]}
# Pillow 13 resizes rows before columns where the height shrinks by more than twice as many pixels as the width; older
# versions never do. The images of the training cases are not taller than wide, so that both agree; tall ones are apart.
TALL_SPLITS = {"train": [1, 1, 1], "validation": [3, 3, 3]}

CHECKPOINTS = {
    "small": dict(hidden_size=48, num_hidden_layers=3, num_attention_heads=3, intermediate_size=96, image_size=32,
                  patch_size=8, layer_norm_eps=1e-6),
    "odd": dict(hidden_size=40, num_hidden_layers=2, num_attention_heads=5, intermediate_size=72, image_size=28,
                patch_size=7, layer_norm_eps=1e-12, qkv_bias=False),
    "shallow": dict(hidden_size=24, num_hidden_layers=1, num_attention_heads=1, intermediate_size=100, image_size=42,
                    patch_size=6, layer_norm_eps=1e-2),
    "calm": dict(hidden_size=48, num_hidden_layers=3, num_attention_heads=3, intermediate_size=96, image_size=32,
                 patch_size=8, layer_norm_eps=1e-6),
}
# Gradients so small that no step overflows in fp16 at the scaler's first scale: no step is skipped.
CALM = {"calm": 0.1}
PROCESSORS = {
    "small": dict(image_mean=[0.5] * 3, image_std=[0.5] * 3),
    "odd": dict(image_mean=[0.485, 0.456, 0.406], image_std=[0.229, 0.224, 0.225]),
    "shallow": dict(image_mean=[0.1, 0.4, 0.7], image_std=[0.9, 0.3, 0.6]),
    "calm": dict(image_mean=[0.5] * 3, image_std=[0.5] * 3),
}

# Keys are the host's; `accumulation_steps` and `global_batch_size` hold for one and for two ranks alike.
COMMON = {"optimizer.lr": 1e-3, "optimizer.weight_decay": 0.05, "optimizer.schedule": "cosine", "train.epochs": 2,
          "train.global_batch_size": 4, "train.accumulation_steps": 1}
CASES = {
    "plain": ("small", {}),
    "accumulation": ("small", {"train.global_batch_size": 6, "train.accumulation_steps": 3, "train.epochs": 3}),
    "clip": ("small", {"train.clip_norm": 0.5}),
    "linear_warmup": ("odd", {"optimizer.schedule": "linear", "optimizer.warmup_steps": 3}),
    "cosine_warmup_ratio": ("odd", {"optimizer.warmup_ratio": 0.3}),
    "constant": ("shallow", {"optimizer.schedule": "constant", "optimizer.betas": [0.8, 0.95], "optimizer.eps": 1e-5}),
    "sgd": ("small", {"optimizer.name": "sgd", "optimizer.lr": 0.01, "optimizer.momentum": 0.8}),
    "frozen": ("small", {"model.freeze": ["vit.embeddings.*", "vit.encoder.layer.0.*", "*.layernorm_?????.bias"]}),
    "drop_last": ("odd", {"data.drop_last": True, "data.limit": 18, "train.epochs": 3}),
    "max_steps": ("shallow", {"train.max_steps": 13, "train.epochs": 3, "optimizer.schedule": "linear"}),
    "all_together": ("odd", {"train.global_batch_size": 8, "train.accumulation_steps": 2, "train.clip_norm": 1.0,
                             "optimizer.schedule": "linear", "optimizer.warmup_steps": 2, "train.epochs": 4,
                             "model.freeze": ["*.cls_token"]}),
    "calm": ("calm", {}),
    "big_batch": ("shallow", {"train.global_batch_size": 32, "train.epochs": 6}),
}
HALF = {"bf16": {}, "fp16": {}}  # of the case "calm"
LOSS_SCALE = 2.0 ** 16  # of fp16: where the host's dynamic scale begins, and stays for the first 1000 steps


def make_checkpoint(folder, name, seed):
    """Weights wide enough that every parameter matters for the loss, biases and norms included."""
    config = ViTConfig(**CHECKPOINTS[name], num_channels=3, hidden_act="gelu", hidden_dropout_prob=0.0,
                       attention_probs_dropout_prob=0.0, id2label=dict(enumerate(CLASSES)),
                       label2id={c: i for i, c in enumerate(CLASSES)}, architectures=["ViTForImageClassification"])
    model = ViTForImageClassification(config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            norm = "layernorm" in key and key.endswith("weight")
            parameter.copy_(1 + 0.2 * noise if norm else (0.2 if parameter.ndim > 1 else 0.1) * noise)
            if key.startswith(("classifier.", "vit.layernorm.")):
                parameter.mul_(CALM.get(name, 1.0))
    os.makedirs(folder)
    config.save_pretrained(folder)
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, os.path.join(folder, "model.safetensors"),
              metadata={"format": "pt"})
    processor = dict(do_resize=True, size={"height": config.image_size, "width": config.image_size}, resample=2,
                     do_rescale=True, rescale_factor=1 / 255, do_normalize=True, **PROCESSORS[name],
                     image_processor_type="ViTImageProcessor")
    with open(os.path.join(folder, "preprocessor_config.json"), "w", encoding="utf-8") as file:
        json.dump(processor, file, indent=2)


def draw_leaf(rng, label, tall):
    height, width = sorted(int(side) for side in rng.integers(32, 61, 2))
    if tall:
        width, height = height, width + 20
    image = Image.new("RGB", (width, height), tuple(int(v) for v in rng.integers(60, 160, 3)))
    draw = ImageDraw.Draw(image)
    draw.ellipse([4, 3, width - 5, height - 4], fill=(40, int(rng.integers(110, 170)), 40))
    for _ in range([5, 14, 0][label]):
        x, y = int(rng.integers(6, width - 6)), int(rng.integers(6, height - 6))
        size = [5, 2, 0][label]
        shape = draw.rectangle if label == 0 else draw.ellipse
        shape([x - size, y - size, x + size, y + size], fill=[(150, 120, 40), (180, 70, 20), (0, 0, 0)][label])
    noise = rng.normal(0, 6, (height, width, 3))
    return Image.fromarray(np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8))


def make_images(folder, splits, tall):
    rng = np.random.default_rng(20240607)
    for split, counts in splits.items():
        for label, count in enumerate(counts):
            os.makedirs(os.path.join(folder, split, CLASSES[label]))
            for k in range(count):
                # Names that sort otherwise by number or locale than by bytes: _9 after _10, Leaf before leaf.
                name = f"{'Leaf' if k % 4 == 3 else 'leaf'}_{k + 8}.jpg"
                image = draw_leaf(rng, label, tall)
                image.save(os.path.join(folder, split, CLASSES[label], name), quality=88, subsampling=(k + label) % 3)


def reference_flags(settings, world, precision="fp32"):
    """The oracle's flags for a case: a rank's micro-batch follows from the global batch."""
    settings = {**COMMON, **settings}
    names = {"data.drop_last": "drop_last", "data.limit": "limit", "optimizer.name": "optimizer"}
    flags = [f"--world={world}", f"--precision={precision}"]
    share = world * settings["train.accumulation_steps"]
    flags.append(f"--batch_size={-(-settings['train.global_batch_size'] // share)}")
    for key, value in settings.items():
        flag = names.get(key, key.split(".")[1])
        if key == "train.global_batch_size":
            continue
        if isinstance(value, bool):
            flags += [f"--{flag}"] if value else []
        elif isinstance(value, list):
            flags += [f"--{flag}", *map(str, value)]
        else:
            flags.append(f"--{flag}={value}")
    return flags + ([f"--loss_scale={LOSS_SCALE}"] if precision == "fp16" else [])


def run_reference(data, checkpoint, settings, world=1, precision="fp32", extra=()):
    return train_hf_vit.train([f"--model={os.path.join(data, checkpoint)}", f"--data={os.path.join(data, 'images')}",
                               *reference_flags(settings, world, precision), *extra])


def split_records(records):
    steps = [{k: r[k] for k in ("step", "loss", "lr", "grad_norm", "samples")} for r in records if r["event"] == "step"]
    evaluations = [{k: r[k] for k in ("epoch", "loss", "correct", "samples")} for r in records if r["event"] == "eval"]
    return steps, evaluations


def untrained_scores(data, checkpoint, images, splits):
    """Each split scored with the weights as they are."""
    trainer = train_hf_vit.Trainer(train_hf_vit.parse([f"--model={os.path.join(data, checkpoint)}",
                                                       f"--data={os.path.join(data, images)}"]))
    with open(os.path.join(data, checkpoint, "preprocessor_config.json"), encoding="utf-8") as file:
        processor = json.load(file)
    scores = {}
    for split in splits:
        size = trainer.model.config.image_size
        samples = train_hf_vit.Images(os.path.join(data, images), split, processor, size, 0)
        loss, correct = trainer.evaluate(samples)
        scores[split] = {"loss": loss, "correct": correct, "samples": len(samples)}
    return scores


def main():
    data = sys.argv[1]
    for seed, name in enumerate(CHECKPOINTS):
        if not os.path.isdir(os.path.join(data, name)):
            make_checkpoint(os.path.join(data, name), name, seed + 1)
    for folder, splits in {"images": SPLITS, "tall_images": TALL_SPLITS}.items():
        if not os.path.isdir(os.path.join(data, folder)):
            make_images(os.path.join(data, folder), splits, folder == "tall_images")
    goldens = {"made_with": f"torch {torch.__version__}, transformers {transformers.__version__}, Pillow "
                            f"{PIL.__version__}, fp32 on CPU, eager",
               "cases": [], "half": {},
               "scores": {name: untrained_scores(data, name, "images", SPLITS) for name in CHECKPOINTS},
               "tall_scores": {name: untrained_scores(data, name, "tall_images", TALL_SPLITS) for name in CHECKPOINTS}}
    for name, (checkpoint, settings) in CASES.items():
        steps, evaluations = split_records(run_reference(data, checkpoint, settings))
        goldens["cases"].append({"name": name, "checkpoint": checkpoint, "settings": {**COMMON, **settings},
                                 "steps": steps, "evaluations": evaluations})
    for precision, settings in HALF.items():
        steps, _ = split_records(run_reference(data, "calm", settings, precision=precision))
        goldens["half"][precision] = {"checkpoint": "calm", "settings": {**COMMON, **settings}, "steps": steps}
    with open(os.path.join(data, "goldens.json"), "w", encoding="utf-8") as file:
        json.dump(goldens, file, indent=1)
        file.write("\n")


if __name__ == "__main__":
    main()
