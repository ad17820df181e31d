"""`tinyldm info`: what is installed, where it runs, and how large everything is."""

import argparse
from textwrap import fill

from tinyldm import machine, threads, versions
from tinyldm.cli.models import is_single_file
from tinyldm.evaluation import sizes
from tinyldm.formats.places import NAMED, model_folder, names_of_drawings


def run(options: argparse.Namespace) -> None:
    """Print the versions, the hardware, and the sizes of the parts."""
    device = machine.choose_device(options.device)
    threads.fit()  # so that the number shown is that for large networks
    print("versions   " + ", ".join(f"{name} {version}" for name, version in machine.versions().items()))
    print("machine    " + ", ".join(f"{name} {value}" for name, value in machine.hardware(device).items()))
    print()
    print("\n".join(table_of_two_sizes()))
    print()
    if options.model in NAMED and not model_folder(options.model).is_dir():
        print(f"this copy came without the weights of {options.model}; to train your own:  {NAMED[options.model][0]}")
    else:
        print("\n".join(table_of_model(options.model)))
        if names := names_of_drawings(model_folder(options.model)):
            print("\n" + fill(f"it was trained on drawings of {len(names)} things: {', '.join(names)}", 100))


def table_of_two_sizes() -> list[str]:
    """The shapes and the parts of tiny and of Stable Diffusion 1, side by side."""
    columns = [versions.TINY, versions.SD1]
    shapes = []
    for version in columns:
        side, latent, text = version.image_size, version.image_size // version.vae.factor, version.text[0]
        context = f"{text.max_position_embeddings}×{text.hidden_size}"
        shapes.append((f"3×{side}×{side}", f"{version.vae.latent_channels}×{latent}×{latent}", context))
    parts = [sizes.of_version(version) for version in columns]
    rows = [("in float32", "tiny", "Stable Diffusion 1"), *zip(("image", "latent", "context"), *shapes)]
    names = dict.fromkeys(name for part in parts for name in part)
    rows += [(name, *(str(part.get(name, "none")) for part in parts)) for name in names]
    return [f"{name:<16}{left:>26}{right:>26}" for name, left, right in rows]


def table_of_model(model: str) -> list[str]:
    """The parts of one model as they are on disk."""
    parts = sizes.of_file(model) if is_single_file(model) else sizes.of_folder(model)
    total = sizes.Size(sum(part.parameters for part in parts.values()), sum(part.bytes for part in parts.values()))
    return [f"{model} on disk", *(f"{name:<16}{str(part):>26}" for name, part in (parts | {"all": total}).items())]
