"""Peer: DistributedDataParallel with ZeroRedundancyOptimizer, which shards the optimizer's state (ZeRO stage 1)."""

import torch
from torch.distributed.optim import ZeroRedundancyOptimizer
from torch.nn.parallel import DistributedDataParallel

from common import LEARNING_RATE, WEIGHT_DECAY, Place, Step, arguments, build, fail, run


def main():
    parser = arguments(__doc__)
    parser.add_argument("--compile", action="store_true", help="the model under torch.compile")
    args = parser.parse_args()
    place = Place(args.device)
    if not torch.distributed.is_initialized():
        fail("start it with torchrun")
    devices = [place.device.index] if place.on_gpu else None
    model = DistributedDataParallel(build(args, place), device_ids=devices, gradient_as_bucket_view=True)
    optimizer = ZeroRedundancyOptimizer(
        model.parameters(),
        optimizer_class=torch.optim.AdamW,
        lr=LEARNING_RATE,
        weight_decay=WEIGHT_DECAY,
        fused=True,
    )
    run(args, place, Step(args, place, torch.compile(model) if args.compile else model, optimizer))
    place.leave()


main()
