"""Peer: Hugging Face's ViT as it comes, eager, on one device."""

from common import Place, Step, adamw, arguments, build, run


def main():
    args = arguments(__doc__, libraries=("hf",)).parse_args()
    place = Place(args.device)
    model = build(args, place)
    run(args, place, Step(args, place, model, adamw(model.parameters())))
    place.leave()


main()
