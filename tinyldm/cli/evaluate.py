"""`tinyldm evaluate`: how good a model is, in numbers and as a figure."""

import argparse
import json

import torch

import tinyldm
from tinyldm import machine, threads
from tinyldm.cli.models import is_single_file
from tinyldm.cli.options import SAMPLERS
from tinyldm.cli.output import require_writable
from tinyldm.cli.pages import SUFFIXES
from tinyldm.evaluation import measure_drawings, report
from tinyldm.evaluation.drawing_judge import DrawingJudge
from tinyldm.evaluation.measure import EvaluationSettings, evaluate
from tinyldm.formats.files import write_bytes
from tinyldm.formats.places import NAMED, SHIPPED, draws_drawings, find_model, model_folder
from tinyldm.training.figures import save_grid


def run(options: argparse.Namespace) -> None:
    """Measure a model; print the results, and write them where asked."""
    if options.json is not None:
        require_writable(options.json, (".json",))
    if options.figure is not None:
        require_writable(options.figure, (*SUFFIXES, ".pdf", ".svg"))
    if is_single_file(options.model):
        raise ValueError(
            f"--model {options.model} is one file, a model of Stable Diffusion; evaluate measures models of the small "
            "world and of drawings, which are folders"
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
    if options.model in NAMED:
        find_model(options.model)
    if draws_drawings(model_folder(options.model)):
        run_on_drawings(options, settings, device)
        return
    if options.judge is not None:
        raise ValueError(f"--judge reads drawings, and {options.model} was not trained on them")
    threads.fit()
    results, gallery = evaluate(options.model, settings, device)
    if options.json is not None:
        write_bytes(options.json, json.dumps(results, indent=2, ensure_ascii=False).encode())
    if options.figure is not None:
        report.save_figure(results, gallery, options.figure)
    print("\n".join(report.in_words(results)))


def run_on_drawings(options: argparse.Namespace, settings: EvaluationSettings, device: torch.device) -> None:
    """The same for a model of drawings, which another judge reads."""
    judge = DrawingJudge.load(options.judge or SHIPPED / "judge")
    threads.fit()
    results, gallery = measure_drawings.evaluate_drawings(options.model, judge, settings, device)
    if options.json is not None:
        write_bytes(options.json, json.dumps(results, indent=2, ensure_ascii=False).encode())
    if options.figure is not None:
        save_grid(gallery.images, gallery.captions, options.figure, columns=8)
    print("\n".join(measure_drawings.in_words(results)))
