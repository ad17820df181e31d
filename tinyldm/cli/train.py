"""`tinyldm train`: all options are checked before any work, then the parts of a model are trained."""

import argparse
import glob
import warnings
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch

from tinyldm import threads
from tinyldm.cli.estimate import show
from tinyldm.cli.output import require_writable_folder, to_stderr
from tinyldm.data import drawings
from tinyldm.data.corpus import Corpus, digits_corpus, disk_corpus, folder_corpus, scenes_corpus
from tinyldm.data.folder import summary
from tinyldm.data.shards import shard_files, verify
from tinyldm.data.streams import Sample, folder_samples, parquet_samples, prepare, tar_samples
from tinyldm.machine import choose_device
from tinyldm.training import train_drawings as of_drawings
from tinyldm.training.checkpoints import read_facts
from tinyldm.training.processes import Processes, join
from tinyldm.training.resuming import reserved, say_other_runs
from tinyldm.training.run import Settings
from tinyldm.training.train_all import CPU, GPU, SD1_UNET, STAGES, Plan, require_trainable, train_all
from tinyldm.training.train_joint import STYLE_TOWER
from tinyldm.versions import SD1, TINY

UNET_ONLY = ("accumulate", "compile", "recompute", "ema_on_cpu")  # options that are fields of UnetSettings
MODEL_SIZES = {"tiny": TINY, "sd1": SD1}


def run(options: argparse.Namespace) -> None:
    """Train the parts of a model."""
    if options.data == "drawings":
        run_on_drawings(options)
        return
    stages = STAGES if options.stage == "all" else (options.stage,)
    require_matching(options, stages)
    plan = plan_of(options)
    if options.estimate:
        show(options, MODEL_SIZES[options.model_size], plan.unet)
        return
    choose_device(plan.unet.device)
    folder = options.model or options.out / "model"
    require_trainable(plan, folder, stages)
    processes = join(plan.unet.device)
    for stage in stages:
        processes.shares(getattr(plan, stage).batch, plan.unet.accumulate if stage == "unet" else 1)
    require_writable_folder(options.out)
    threads.fit()
    if not processes.is_first:
        warnings.simplefilter("ignore")  # the first process says it
    plan = on_device(plan, processes.device or plan.unet.device)
    if plan.unet.device.startswith("cuda"):
        torch.set_float32_matmul_precision("high")
    with reserved(options.out):
        corpus = load_corpus(options, plan, processes)
        say_other_runs(options.out, len(corpus), earlier_stages(options.out, stages))
        train_all(plan, corpus, folder, stages, processes)
    if processes.is_first:
        print(f"done: see {options.out}")


def run_on_drawings(options: argparse.Namespace) -> None:
    """Train the parts of a model of drawings, whose text encoder is trained together with its U-Net."""
    stages = of_drawings.STAGES if options.stage == "all" else (options.stage,)
    require_fit_for_drawings(options)
    require_matching(options, stages)
    given = settings_given(options)
    of = of_drawings.GPU if wants_gpu(options) else of_drawings.CPU
    tower = STYLE_TOWER if options.style_pictures else None
    names = None if options.names is None else drawings.names_in(options.names)
    plan = replace(of, vae=replace(of.vae, **given), unet=replace(of.unet, vision=tower, names=names, **given))
    choose_device(plan.unet.device)
    folder = options.model or options.out / "model"
    of_drawings.require_trainable(plan, folder, stages)
    require_writable_folder(options.out)
    threads.fit()
    if plan.unet.device.startswith("cuda"):
        torch.set_float32_matmul_precision("high")
    of_drawings.train_drawings(plan, folder, stages)
    print(f"done: see {options.out}")


def require_fit_for_drawings(options: argparse.Namespace) -> None:
    """Raises ValueError for what training on drawings does not have: a CLIP, large U-Nets, several processes."""
    if options.stage == "clip":
        raise ValueError("the text encoder for drawings is trained with the U-Net; leave out 'train clip'")
    for name in ("start_from", "parts_from", *UNET_ONLY):
        if getattr(options, name) is not None:
            raise ValueError(f"--{name.replace('_', '-')} does not work with --data drawings")
    if options.estimate or options.model_size != "tiny":
        raise ValueError("--estimate and --model-size do not work with --data drawings")
    if join(str(options.device)).count > 1:
        raise ValueError("--data drawings trains in one process only; start it without a launcher")


def require_matching(options: argparse.Namespace, stages: tuple[str, ...]) -> None:
    """Raises ValueError for an option that conflicts with another one."""
    if options.start_from is not None and stages != ("unet",):
        raise ValueError(f"--start-from works only with 'tinyldm train unet', not with {', '.join(stages)}")
    if options.style_pictures and (options.data != "drawings" or "unet" not in stages):
        raise ValueError("--style-pictures is for 'train unet' and 'train all' with --data drawings")
    if options.names is not None and (options.data != "drawings" or "unet" not in stages):
        raise ValueError("--names is for 'train unet' and 'train all' with --data drawings")
    if options.scenes is not None and options.data != "scenes":
        raise ValueError(f"--scenes is for --data scenes, not for --data {options.data}")
    known = options.data in ("scenes", "digits", "drawings")
    if not known and not Path(options.data).is_dir() and not stream_files(options.data):
        raise ValueError(
            f'--data is {options.data!r}; expected "scenes", "digits", "drawings", a folder of pictures with '
            "metadata.jsonl, or .tar or .parquet files"
        )
    if options.on_disk and not Path(options.data).is_dir():
        raise ValueError(f"--on-disk is for a folder of pictures, not for --data {options.data}")
    for name in UNET_ONLY:
        if getattr(options, name) is not None and "unet" not in stages:
            raise ValueError(f"--{name.replace('_', '-')} is for the U-Net, not for {stages[0]}")
    if (options.parts_from is not None or options.model_size != "tiny") and stages != ("unet",):
        raise ValueError("--model-size and --parts-from are for the U-Net alone: tinyldm train unet")
    if options.parts_from is not None and options.start_from is not None:
        raise ValueError("both --start-from and --parts-from are given; expected one: to go on, or from random weights")
    if options.estimate and stages != ("unet",):
        raise ValueError("--estimate is of the U-Net alone: tinyldm train unet --estimate")
    for name in ("gpus", "gpu_tflops", "gpu_memory", "utilisation"):
        if getattr(options, name) is not None and not options.estimate:
            raise ValueError(
                f"--{name.replace('_', '-')} describes the machine of an --estimate, which is not asked for"
            )
    if options.model_size != "tiny" and not options.estimate:
        require_large(options)
    if options.model is not None and "unet" not in stages:
        raise ValueError(
            f"--model names the finished model, which only 'train unet' and 'train all' write, not {stages[0]}"
        )


def earlier_stages(out: Path, stages: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """The facts of what was trained in this folder and is not trained now."""
    files = {stage: out / f"{stage}.checkpoint.safetensors" for stage in STAGES if stage not in stages}
    return {stage: read_facts(file) for stage, file in files.items() if file.exists()}


def require_large(options: argparse.Namespace) -> None:
    """Raises ValueError for what does not go with a U-Net of another size than tiny's."""
    if options.parts_from is None:
        raise ValueError(
            f"--model-size {options.model_size} needs the VAE and the text encoder of that size: --parts-from FOLDER; "
            "or say --estimate, to see what such a training takes"
        )
    if options.data in ("scenes", "digits"):
        raise ValueError(
            f"--data {options.data} has pictures of 64×64 pixels, too small for --model-size {options.model_size}; "
            "expected a folder of pictures, or .tar or .parquet files"
        )


def plan_of(options: argparse.Namespace) -> Plan:
    """The plan with what the command line says in place of its own settings."""
    plan, given = GPU if wants_gpu(options) else CPU, settings_given(options)
    names = (*UNET_ONLY, "start_from", "parts_from")
    unet = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    if options.data not in ("scenes", "digits") and (options.on_disk or not Path(options.data).is_dir()):
        unet["cache"] = options.out / "latents"
    if options.model_size == "sd1":
        plan = replace(plan, unet=SD1_UNET)
    return Plan(
        options.scenes or plan.scenes,
        replace(plan.clip, **given),
        replace(plan.vae, **given),
        replace(plan.unet, **given, **unet),
    )


def wants_gpu(options: argparse.Namespace) -> bool:
    """Is it the plan for a GPU that is asked for, by name or by the device?"""
    return options.plan == "gpu" or (options.plan is None and str(options.device).startswith("cuda"))


def settings_given(options: argparse.Namespace) -> dict[str, Any]:
    """What the command line says of the settings that all stages have."""
    given: dict[str, Any] = {field.name: getattr(options, field.name, None) for field in fields(Settings)}
    given["bf16"] = None if options.dtype is None else options.dtype == "bfloat16"
    given = {name: value for name, value in given.items() if value is not None}
    if "steps" in given and "minutes" not in given:  # the plan's minutes could end the training earlier
        given["minutes"] = None
    return given


def on_device(plan: Plan, device: str) -> Plan:
    """The plan on another device: each process of several has a GPU of its own."""
    return replace(plan, **{stage: replace(getattr(plan, stage), device=device) for stage in STAGES})


# ── Data ─────────────────────────────────────────────────────────────────────────────────────────────


def load_corpus(options: argparse.Namespace, plan: Plan, processes: Processes) -> Corpus:
    """ "scenes", "digits", a folder of pictures, or files that are read as a stream -> images and captions."""
    if options.data == "scenes":
        return scenes_corpus(plan.scenes, plan.clip.seed)
    if options.data == "digits":
        return digits_corpus()
    if plan.unet.cache is not None:
        corpus, skipped = streamed_corpus(options, processes)
    else:
        corpus, skipped = folder_corpus(options.data, MODEL_SIZES[options.model_size].image_size)
    if skipped and processes.is_first:
        to_stderr(summary(skipped))
    return corpus


def streamed_corpus(options: argparse.Namespace, processes: Processes) -> tuple[Corpus, list[tuple[str, str]]]:
    """Pictures that are read once, by the first process, into memory-mapped files in OUT/data."""
    folder, size = options.out / "data", MODEL_SIZES[options.model_size].image_size
    if processes.is_first:
        source = str(Path(options.data).resolve())
        for file in prepare(samples_of(options.data), folder, size, source, progress=True):
            verify(file)
    processes.wait()
    return disk_corpus(shard_files(folder))


def samples_of(data: str) -> Iterator[Sample]:
    """The stream of a folder with metadata, or of .tar or .parquet files."""
    files = stream_files(data)
    if not files:
        return folder_samples(Path(data))
    return tar_samples(files) if files[0].suffix == ".tar" else parquet_samples(files)


def stream_files(data: str) -> list[Path]:
    """The .tar or .parquet files that `--data` names: one file, a pattern such as "shards/*.tar", or a folder of them.

    A folder with a list of captions is a folder of pictures, and has none. Raises ValueError for both kinds at once.
    """
    path = Path(data)
    if path.is_dir():
        found = [] if any(path.glob("metadata.*")) else [*path.iterdir()]
    else:
        found = [Path(name) for name in glob.glob(data)]
    files = sorted(file for file in found if file.suffix in (".tar", ".parquet"))
    if len({file.suffix for file in files}) > 1:
        raise ValueError(f"--data {data} has .tar and .parquet files; expected one kind")
    return files
