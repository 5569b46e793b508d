"""Peer: FSDP2, every block sharded over the processes that torchrun started. bf16 means bf16 parameters in
computation with fp32 masters, and gradients that are added in fp32."""

import torch
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

from common import Place, Step, adamw, arguments, blocks_of, build, fail, run


def main():
    parser = arguments(__doc__)
    parser.add_argument("--compile", action="store_true", help="the model under torch.compile")
    args = parser.parse_args()
    place = Place(args.device)
    if not torch.distributed.is_initialized():
        fail("start it with torchrun")
    model = build(args, place)
    policy = MixedPrecisionPolicy()
    if args.precision == "bf16":
        policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32, cast_forward_inputs=False)
        model.dtype = torch.bfloat16
    for block in blocks_of(model):
        fully_shard(block, mp_policy=policy)
    fully_shard(model, mp_policy=policy)
    if args.compile:
        model.compile()
    run(args, place, Step(args, place, model, adamw(model.parameters()), autocasts=False))
    place.leave()


main()
