"""Peer: DistributedDataParallel. Start it with torchrun; one process is a run without communication."""

import torch
from torch.nn.parallel import DistributedDataParallel

from common import Place, Step, adamw, arguments, build, run


def main():
    parser = arguments(__doc__)
    parser.add_argument("--compile", action="store_true", help="the model under torch.compile")
    args = parser.parse_args()
    place = Place(args.device)
    model = build(args, place)
    if place.world > 1:
        devices = [place.device.index] if place.on_gpu else None
        model = DistributedDataParallel(model, device_ids=devices, gradient_as_bucket_view=True)
    optimizer = adamw(model.parameters())
    run(args, place, Step(args, place, torch.compile(model) if args.compile else model, optimizer))
    place.leave()


main()
