"""Peer: timm's ViT under torch.compile on one device, the fastest way to train it in stock PyTorch that we know."""

import torch

from common import Place, Step, adamw, arguments, build, run

# Up to here a step is bound by launches, and torch.compile's CUDA graphs pay; above they only take memory.
LARGEST_BATCH_FOR_GRAPHS = 64


def main():
    parser = arguments(__doc__, libraries=("timm", "hf"))
    parser.add_argument("--mode", default="auto", help="of torch.compile; auto: CUDA graphs up to batch 64; none: eager")
    args = parser.parse_args()
    place = Place(args.device)
    model = build(args, place)
    if args.mode == "auto":
        graphs = place.on_gpu and args.batch <= LARGEST_BATCH_FOR_GRAPHS
        args.mode = "reduce-overhead" if graphs else "default"
    optimizer = adamw(model.parameters())
    step = Step(args, place, model if args.mode == "none" else torch.compile(model, mode=args.mode), optimizer)
    run(args, place, step)
    place.leave()


main()
