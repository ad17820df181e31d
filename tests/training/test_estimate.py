"""The estimate of a training: arithmetic and memory as they are counted elsewhere, and what the command prints."""

from dataclasses import replace

import pytest
import torch
from small_models import SMALL_UNET
from torch.utils.flop_counter import FlopCounterMode

from tinyldm.cli.main import main
from tinyldm.training.estimate import (
    STABLE_DIFFUSION_1,
    UTILISATION,
    Machine,
    Published,
    estimate,
    estimated_hours,
    kept_for_backward,
)
from tinyldm.unet import UNet
from tinyldm.versions import SD1, TINY

SMALL = replace(TINY, unet=replace(SMALL_UNET, context_dim=24))


@pytest.mark.slow
def test_stable_diffusion_1():
    found = estimate(SD1)
    assert found.parameters == 859_520_964 and found.positions == 4096
    assert found.forward == pytest.approx(1.607e12 / 2, rel=1e-3)  # counted on a whole step of generation elsewhere
    assert found.backward == pytest.approx(2 * found.forward, rel=0.01)
    diffusers = pytest.importorskip("diffusers")
    with torch.device("meta"):
        theirs = diffusers.UNet2DConditionModel(cross_attention_dim=768)
        inputs = torch.empty(1, 4, 64, 64), torch.zeros(1, dtype=torch.int64), torch.empty(1, 77, 768)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        theirs(*inputs)
    assert found.forward == pytest.approx(counter.get_total_flops(), rel=1e-3)


def test_memory_is_what_a_real_step_keeps():
    """On a real network, on this machine: the bytes of all tensors that autograd keeps."""
    counted = estimate(SMALL)
    unet = UNet(SMALL.unet).bfloat16()
    inputs = torch.randn(1, 4, 8, 8).bfloat16(), torch.zeros(1, dtype=torch.int64), torch.randn(1, 32, 24).bfloat16()
    with kept_for_backward(unet) as kept:
        unet(*inputs)
    assert sum(kept.values()) == pytest.approx(counted.activations, rel=0.05)
    assert counted.recomputed < counted.activations


def test_hours_by_hand():
    machine = Machine(gpus=4, tflops=100.0, utilisation=0.5)
    assert machine.hours(4 * 100e12 * 0.5 * 3600) == pytest.approx(1.0)
    one = estimate(SMALL)
    published = Published("x", batch=10, phases=((7, 64), (3, 64)), gpu_hours=1.0)
    expected = 10 * 10 * (one.forward + one.backward + one.encoding) / (312e12 * UTILISATION) / 3600
    assert estimated_hours(published, SMALL) == pytest.approx(expected)
    assert one.flops(recompute=True) == 2 * one.forward + one.backward


def test_what_fits_into_memory():
    found = estimate(SMALL)
    small = Machine(memory=(found.fixed_bytes() + 10.5 * found.activations) / 1e9)
    assert found.largest_batch(small, recompute=False, ema_on_cpu=False) == 10
    assert found.largest_batch(small, recompute=True, ema_on_cpu=True) > 10
    assert found.largest_batch(Machine(memory=1e-6), recompute=False, ema_on_cpu=False) == 0
    assert found.fixed_bytes() == 22 * found.parameters and found.fixed_bytes(ema_on_cpu=True) == 18 * found.parameters


@pytest.mark.slow
def test_the_command_prints_it(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main("train unet --model-size sd1 --estimate --gpus 256 --gpu-memory 40 --minutes 6000".split()) == 0
    text = capsys.readouterr().out
    for part in ("859,520,964 parameters", "256 GPUs of 312 TFLOP/s at 40%", "tokens/s", "--recompute", "GPU hours"):
        assert part in text, part
    hours = estimated_hours(STABLE_DIFFUSION_1)
    assert f"estimated {hours:,.0f} A100 hours" in text and "published 150,000" in text
    assert f"took {150_000 / hours:.1f} times as long" in text
    assert not list(tmp_path.iterdir())
