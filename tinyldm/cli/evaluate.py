"""`tinyldm evaluate`: how good a model is, in numbers and as a figure."""

import argparse
import json

import tinyldm
from tinyldm import machine, threads
from tinyldm.cli.models import is_single_file
from tinyldm.cli.options import SAMPLERS
from tinyldm.cli.output import require_writable
from tinyldm.cli.pages import SUFFIXES
from tinyldm.evaluation import report
from tinyldm.evaluation.measure import EvaluationSettings, evaluate
from tinyldm.formats.files import write_bytes


def run(options: argparse.Namespace) -> None:
    """Measure a model; print the results, and write them where asked."""
    if options.json is not None:
        require_writable(options.json, (".json",))
    if options.figure is not None:
        require_writable(options.figure, (*SUFFIXES, ".pdf", ".svg"))
    if is_single_file(options.model):
        raise ValueError(
            f"--model {options.model} is one file, a model of Stable Diffusion; evaluate measures models of the small "
            "world, which are folders"
        )
    settings = EvaluationSettings(
        captions=options.captions,
        seed=options.seed,
        steps=options.steps,
        guidance_scale=options.guidance,
        sampler=getattr(tinyldm, SAMPLERS[options.sampler]),
        training_images=options.training_images,
    )
    device = machine.choose_device(options.device)
    threads.fit()
    results, gallery = evaluate(options.model, settings, device)
    if options.json is not None:
        write_bytes(options.json, json.dumps(results, indent=2, ensure_ascii=False).encode())
    if options.figure is not None:
        report.save_figure(results, gallery, options.figure)
    print("\n".join(report.in_words(results)))
