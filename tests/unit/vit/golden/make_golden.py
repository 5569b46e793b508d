#!/usr/bin/env python3
"""Makes the files in this folder with torch and transformers: what the tests of the ViT compare with.

tiny/        a random ViTForImageClassification: config.json, preprocessor_config.json, model.safetensors
golden.json  its logits, loss and gradient norms for a formula's pixels, at two resolutions and without q/k/v biases,
             and position grids that torch resized
"""
import json
import os

import torch
from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

HERE = os.path.dirname(os.path.abspath(__file__))
ROWS = 3


def pixels(rows, size):
    """The formula that the C++ side uses, too."""
    n = rows * size * size * 3
    index = torch.arange(n, dtype=torch.int64)
    return ((index * 2654435761 + 12345) % 4294967296 // 16777216).to(torch.uint8).view(rows, size, size, 3)


def tiny_config(**other):
    return ViTConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48, image_size=32,
                     patch_size=8, layer_norm_eps=1e-6, num_labels=3, **other)


def tiny_model(config):
    torch.manual_seed(7)
    model = ViTForImageClassification(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # larger than trained ones, so that every part matters
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


def answers(model, size, mean, std):
    labels = torch.tensor([2, 0, 1])
    images = (pixels(ROWS, size).permute(0, 3, 1, 2).double() / 255 - mean) / std
    images[1] = images[1].flip(-1)  # sample 1 is mirrored
    logits = model(pixel_values=images.float(), interpolate_pos_encoding=size != model.config.image_size).logits
    losses = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
    model.zero_grad()
    losses.mean().backward()
    norms = {name: parameter.grad.double().norm().item() for name, parameter in model.named_parameters()}
    return {"size": size, "labels": labels.tolist(), "logits": logits.tolist(), "losses": losses.tolist(),
            "grad_norms": norms}


def grid(old, new, channels=3):
    values = torch.sin(torch.arange(old * old * channels, dtype=torch.float32) * 0.7).view(old, old, channels)
    resized = torch.nn.functional.interpolate(values.permute(2, 0, 1)[None], size=(new, new), mode="bicubic",
                                              align_corners=False)
    return {"old": old, "new": new, "channels": channels,
            "values": resized[0].permute(1, 2, 0).reshape(-1).tolist()}


def main():
    torch.set_num_threads(1)
    mean = torch.tensor([0.5, 0.4, 0.3], dtype=torch.float64).view(1, 3, 1, 1)
    std = torch.tensor([0.5, 0.25, 0.2], dtype=torch.float64).view(1, 3, 1, 1)
    model = tiny_model(tiny_config(id2label={0: "angular_leaf_spot", 1: "bean_rust", 2: "healthy"},
                                   label2id={"angular_leaf_spot": 0, "bean_rust": 1, "healthy": 2}))
    model.save_pretrained(os.path.join(HERE, "tiny"))
    ViTImageProcessor(size={"height": 32, "width": 32}, image_mean=mean.flatten().tolist(),
                      image_std=std.flatten().tolist()).save_pretrained(os.path.join(HERE, "tiny"))
    unbiased = tiny_model(tiny_config(qkv_bias=False))
    loaded = unbiased.state_dict()
    loaded.update({k: v for k, v in model.state_dict().items() if k in loaded})
    unbiased.load_state_dict(loaded)
    golden = {"same": answers(model, 32, mean, std), "resized": answers(model, 48, mean, std),
              "without_qkv_bias": answers(unbiased, 32, mean, std), "grids": [grid(4, 6), grid(5, 3), grid(2, 7)]}
    with open(os.path.join(HERE, "golden.json"), "w", encoding="utf-8") as file:
        json.dump(golden, file, indent=1)
        file.write("\n")


if __name__ == "__main__":
    main()
