"""`tinyldm train unet --estimate`: what a training would take, without training anything."""

import argparse

from tinyldm.training.estimate import Machine, report
from tinyldm.training.train_unet import UnetSettings
from tinyldm.versions import Version


def show(options: argparse.Namespace, version: Version, settings: UnetSettings) -> None:
    """Print the estimate for the machine that the options describe."""
    given = {"gpus": options.gpus, "tflops": options.gpu_tflops, "memory": options.gpu_memory}
    given |= {"utilisation": options.utilisation}
    machine = Machine(**{name: value for name, value in given.items() if value is not None})
    print(report(version, settings, machine))
