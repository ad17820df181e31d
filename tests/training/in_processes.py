"""A small training of all three stages, alone or in several processes: a program that test_processes.py starts.

python in_processes.py OUT STEPS DTYPE [--die-at STEP]
"""

import argparse
import os
import signal
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import torch

torch.set_num_threads(1)
parser = argparse.ArgumentParser()
parser.add_argument("out", type=Path)
parser.add_argument("steps", type=int)
parser.add_argument("dtype", choices=("float32", "float64"))
parser.add_argument("--stages", nargs="+", default=["clip", "vae", "unet"])
parser.add_argument("--accumulate", type=int, default=1)
parser.add_argument("--die-at", type=int, help="the second process kills itself in this step of the U-Net's training")
options = parser.parse_args()

if options.dtype == "float64":  # so that what differs is no rounding
    torch.set_default_dtype(torch.float64)
    torch.Tensor.float = torch.Tensor.double  # type: ignore[method-assign]

from test_training_stages import SMALL_VAE, TEXT, VISION, plan  # noqa: E402

from tinyldm.conditioning import TextEncoder  # noqa: E402
from tinyldm.data.corpus import WORDS, scenes_corpus  # noqa: E402
from tinyldm.training.clip import new_clip  # noqa: E402
from tinyldm.training.processes import join  # noqa: E402
from tinyldm.training.run import Run  # noqa: E402
from tinyldm.training.tokenizer import build_tokenizer  # noqa: E402
from tinyldm.training.train_clip import train_clip  # noqa: E402
from tinyldm.training.train_unet import Frozen, Monitor, train_unet  # noqa: E402
from tinyldm.training.train_vae import train_vae  # noqa: E402
from tinyldm.vae import VAE  # noqa: E402
from tinyldm.versions import TINY  # noqa: E402

warnings.simplefilter("always")
Monitor.save_samples = lambda *_: None  # type: ignore[method-assign, assignment]
processes = join("cpu")
settings = plan(options.out, steps=options.steps, save_seconds=0.0, resume=True)
corpus = scenes_corpus(64)

if options.die_at is not None and processes.number == 1:
    log = Run.log

    def die(run, **values):
        if run.name == "unet" and run.step == options.die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        log(run, **values)

    Run.log = die  # type: ignore[method-assign]


def frozen() -> Frozen:
    torch.manual_seed(3)
    clip = new_clip(TEXT, VISION)
    text_encoder = TextEncoder(clip.text, build_tokenizer(WORDS, 32))
    return Frozen(VAE(SMALL_VAE), text_encoder, TINY.schedule(), clip.vision, 64)


run = {
    "clip": lambda: train_clip(settings.clip, corpus, processes),
    "vae": lambda: train_vae(settings.vae, corpus, new_clip(TEXT, VISION), processes),
    "unet": lambda: train_unet(
        replace(settings.unet, accumulate=options.accumulate), corpus, frozen(), None, processes
    ),
}
try:
    for stage in options.stages:
        torch.manual_seed(0)
        run[stage]()
except (ValueError, OSError) as error:
    sys.exit(str(error))
