"""`tinyldm train`: all options are checked before any work, then the parts of a model are trained."""

import argparse
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch

from tinyldm import threads
from tinyldm.cli.output import require_writable_folder, to_stderr
from tinyldm.data.corpus import Corpus, digits_corpus, folder_corpus, scenes_corpus
from tinyldm.data.folder import summary
from tinyldm.machine import choose_device
from tinyldm.training.checkpoints import read_facts
from tinyldm.training.resuming import reserved, say_other_runs
from tinyldm.training.run import Settings
from tinyldm.training.train_all import CPU, GPU, STAGES, Plan, require_trainable, train_all


def run(options: argparse.Namespace) -> None:
    """Train the parts of a model."""
    stages = STAGES if options.stage == "all" else (options.stage,)
    require_matching(options, stages)
    plan = plan_of(options)
    choose_device(plan.unet.device)
    folder = options.model or options.out / "model"
    require_trainable(plan, folder, stages)
    require_writable_folder(options.out)
    threads.fit()
    corpus = load_corpus(options.data, plan)
    if plan.unet.device.startswith("cuda"):
        torch.set_float32_matmul_precision("high")
    with reserved(options.out):
        say_other_runs(options.out, len(corpus), earlier_stages(options.out, stages))
        train_all(plan, corpus, folder, stages)
    print(f"done: see {options.out}")


def require_matching(options: argparse.Namespace, stages: tuple[str, ...]) -> None:
    """Raises ValueError for an option that conflicts with another one."""
    if options.start_from is not None and stages != ("unet",):
        raise ValueError(f"--start-from works only with 'tinyldm train unet', not with {', '.join(stages)}")
    if options.scenes is not None and options.data != "scenes":
        raise ValueError(f"--scenes is for --data scenes, not for --data {options.data}")
    if options.data not in ("scenes", "digits") and not Path(options.data).is_dir():
        raise ValueError(
            f'--data is {options.data!r}; expected "scenes", "digits", or a folder of pictures with metadata.jsonl'
        )
    if options.model is not None and "unet" not in stages:
        raise ValueError(
            f"--model names the finished model, which only 'train unet' and 'train all' write, not {stages[0]}"
        )


def earlier_stages(out: Path, stages: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """The facts of what was trained in this folder and is not trained now."""
    files = {stage: out / f"{stage}.checkpoint.safetensors" for stage in STAGES if stage not in stages}
    return {stage: read_facts(file) for stage, file in files.items() if file.exists()}


def plan_of(options: argparse.Namespace) -> Plan:
    """The plan with what the command line says in place of its own settings."""
    plan = GPU if options.plan == "gpu" or (options.plan is None and str(options.device).startswith("cuda")) else CPU
    given: dict[str, Any] = {field.name: getattr(options, field.name, None) for field in fields(Settings)}
    given["bf16"] = None if options.dtype is None else options.dtype == "bfloat16"
    given = {name: value for name, value in given.items() if value is not None}
    if "steps" in given and "minutes" not in given:  # the plan's minutes could end the training earlier
        given["minutes"] = None
    unet: dict[str, Any] = {} if options.start_from is None else {"start_from": options.start_from}
    return Plan(
        options.scenes or plan.scenes,
        replace(plan.clip, **given),
        replace(plan.vae, **given),
        replace(plan.unet, **given, **unet),
    )


def load_corpus(data: str, plan: Plan) -> Corpus:
    """ "scenes", "digits", or the path of a folder of pictures -> images and captions."""
    if data == "scenes":
        return scenes_corpus(plan.scenes, plan.clip.seed)
    if data == "digits":
        return digits_corpus()
    corpus, skipped = folder_corpus(data)
    if skipped:
        to_stderr(summary(skipped))
    return corpus
