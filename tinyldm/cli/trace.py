"""`tinyldm trace`: every tensor from a caption to its picture, beside Stable Diffusion's."""

import argparse
from pathlib import Path

import tinyldm
from tinyldm import trace
from tinyldm.cli.generate import leave_out_unknown_words
from tinyldm.cli.models import check_model, load
from tinyldm.cli.options import SAMPLERS
from tinyldm.cli.output import require_writable
from tinyldm.formats.files import write_bytes


def run(options: argparse.Namespace) -> None:
    """Generate one picture, and show every tensor on the way."""
    if options.html is not None:
        require_writable(options.html, (".html", ".htm"))
    check_model(options)
    leave_out_unknown_words(options)
    model = load(options)
    pairs, images = trace.compare_with_stable_diffusion(
        model,
        options.caption,
        steps=options.steps,
        guidance_scale=options.guidance,
        seed=options.seed,
        sampler=getattr(tinyldm, SAMPLERS[options.sampler]),
    )
    name = Path(options.model).resolve().name
    print(trace.table(pairs, name, options.all))
    if options.html is not None:
        write_bytes(options.html, trace.page(pairs, options.caption, images[0], name).encode(errors="replace"))
        print(f"wrote {options.html}: {sum(1 for _ in trace.every(pairs)):,} tensors")
