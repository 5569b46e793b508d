"""Compares a dump of fused_check with the same model in PyTorch on the GPU: fp32, bf16 autocast and pure bf16.

usage: compare.py FOLDER     prints two lines: the loss, and errors of the whole gradient against fp32
"""
import sys

import numpy as np
import torch
import torch.nn.functional as F

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def load(folder):
    lines = open(f"{folder}/layout.txt").read().splitlines()
    head = lines[0].split()
    names = [(p[0], [int(x) for x in p[1:]]) for p in (line.split() for line in lines[1:])]

    def arrays(path):
        flat, out, at = np.fromfile(f"{folder}/{path}", np.float32), {}, 0
        for name, shape in names:
            n = int(np.prod(shape))
            out[name] = torch.from_numpy(flat[at:at + n].reshape(shape).copy()).cuda()
            at += n
        return out

    return head, arrays("weights.bin"), arrays("gradients.bin")


def forward(p, images, heads, layers, patch):
    x = F.conv2d(images, p["vit.embeddings.patch_embeddings.projection.weight"],
                 p["vit.embeddings.patch_embeddings.projection.bias"], stride=patch).flatten(2).transpose(1, 2)
    x = torch.cat([p["vit.embeddings.cls_token"].expand(x.shape[0], -1, -1).to(x.dtype), x], 1)
    x = x + p["vit.embeddings.position_embeddings"]
    b, n, c = x.shape

    def linear(name, v):
        return F.linear(v, p[name + ".weight"], p[name + ".bias"])

    def norm(name, v):
        return F.layer_norm(v, (c,), p[name + ".weight"], p[name + ".bias"], 1e-6)

    for i in range(layers):
        at = f"vit.encoder.layer.{i}."
        h = norm(at + "layernorm_before", x)
        q, k, v = (linear(at + f"attention.attention.{w}", h).view(b, n, heads, c // heads).transpose(1, 2)
                   for w in ("query", "key", "value"))
        o = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, c)
        x = x + linear(at + "attention.output.dense", o)
        h = norm(at + "layernorm_after", x)
        x = x + linear(at + "output.dense", F.gelu(linear(at + "intermediate.dense", h)))
    return linear("classifier", norm("vit.layernorm", x[:, 0]))


def gradients(weights, dtype, autocast, images, labels, heads, layers, patch):
    # Copies, also where the dtype stays: `weights` itself must not become part of a graph.
    p = {n: w.detach().to(dtype, copy=True).requires_grad_() for n, w in weights.items()}
    with torch.autocast("cuda", torch.bfloat16, enabled=autocast):
        logits = forward(p, images.to(dtype), heads, layers, patch)
    loss = F.cross_entropy(logits.float(), labels)
    loss.backward()
    return loss.item(), (logits.argmax(1) == labels).sum().item(), {n: v.grad.float() for n, v in p.items()}


def main():
    folder = sys.argv[1]
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    head, weights, ours = load(folder)
    size, side, patch, _, layers, heads, rows = head[0], *map(int, head[1:7])
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}[head[7]]
    pixels = torch.from_numpy(np.fromfile(f"{folder}/pixels.bin", np.uint8).reshape(rows, side, side, 3)).cuda()
    flip = torch.from_numpy(np.fromfile(f"{folder}/flip.bin", np.uint8)).cuda()
    labels = torch.from_numpy(np.fromfile(f"{folder}/labels.bin", np.int64)).cuda()
    images = torch.where(flip.view(-1, 1, 1, 1) != 0, pixels.flip(2), pixels).permute(0, 3, 1, 2).float() / 255
    images = (images - torch.tensor(MEAN).view(3, 1, 1).cuda()) / torch.tensor(STD).view(3, 1, 1).cuda()
    run = lambda d, a: gradients(weights, d, a, images, labels, heads, layers, patch)
    loss, correct, exact = run(torch.float32, False)
    _, _, auto = run(torch.float32, True)
    pure_loss, _, pure = run(dtype, False)
    keys = [n for n in exact if not n.endswith("attention.key.bias")]
    norm = lambda g: sum((g[n] ** 2).sum().item() for n in keys) ** 0.5
    whole = lambda g: norm({n: g[n] - exact[n] for n in keys}) / norm(exact)
    each = lambda g, n: ((g[n] - exact[n]).norm() / exact[n].norm()).item()
    print(f"{size} b{rows} {head[7]}: loss ours {float(head[8]):.5f} fp32 {loss:.5f} pure {pure_loss:.5f}; right {head[9]} / {correct}")
    verdict = "ok  " if whole(ours) <= 1.1 * whole(pure) else "FAIL"
    print(f"{verdict} whole gradient error: ours {whole(ours):.4f}, autocast {whole(auto):.4f}, pure {whole(pure):.4f}; |g| {norm(exact):.4f}")
    worst = sorted(keys, key=lambda n: -each(ours, n) / max(each(pure, n), 1e-6))[:4]
    for n in worst:
        print(f"     {n.replace('vit.encoder.', ''):48s} ours {each(ours, n):.4f} pure {each(pure, n):.4f}")


main()
