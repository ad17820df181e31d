"""Speed at tiny size, against diffusers with the same weights: `python benchmarks/tiny.py`.

Prints two Markdown tables: the ratios, and GFLOP/s beside those of a matrix product. `--threads N` sets the number of
CPU threads, `--rounds N` the repetitions.
"""

import argparse
import logging
import time
from collections.abc import Callable
from functools import partial

import diffusers
import torch
import torch.nn.functional as F
from common import compare, geometric_mean, hardware
from torch.utils.flop_counter import FlopCounterMode

from tinyldm import VAE, UNet, ddim, guided, timesteps, versions
from tinyldm.formats.diffusers_unet import DIFFUSERS_UNET, unet_config_to_diffusers
from tinyldm.formats.diffusers_vae import DIFFUSERS_VAE, vae_config_to_diffusers
from tinyldm.formats.schedulers import Sampling, sampling_to_diffusers
from tinyldm.formats.weights import rename, reverse
from tinyldm.reverse_diffusion import trailing

TINY = versions.TINY


def make_unets():
    """Our U-Net and diffusers', of TINY's size and with the same weights."""
    ours = UNet(TINY.unet)
    peer = diffusers.UNet2DConditionModel.from_config(unet_config_to_diffusers(TINY.unet, 8))
    peer.load_state_dict({rename(k, reverse(DIFFUSERS_UNET)): v for k, v in ours.state_dict().items()})
    return ours, peer


def make_vaes():
    """Our VAE and diffusers', of TINY's size and with the same weights."""
    ours = VAE(TINY.vae)
    peer = diffusers.AutoencoderKL.from_config(vae_config_to_diffusers(TINY.vae, 64))
    peer.load_state_dict({rename(k, reverse(DIFFUSERS_VAE)): v for k, v in ours.state_dict().items()})
    return ours, peer


def inputs(batch: int):
    context_shape = (TINY.text[0].max_position_embeddings, TINY.unet.context_dim)
    return torch.randn(batch, 4, 8, 8), torch.randint(0, 1000, (batch,)), torch.randn(batch, *context_shape)


@torch.no_grad()
def forward_row(batch: int, rounds: int):
    ours, peer = (unet.eval() for unet in make_unets())
    z_t, t, context = inputs(batch)
    torch.testing.assert_close(ours(z_t, t, context), peer(z_t, t, context).sample, rtol=1e-3, atol=1e-4)
    return compare(
        f"U-Net forward, batch {batch}",
        lambda: ours(z_t, t, context),
        lambda: peer(z_t, t, context).sample,
        rounds=rounds,
    )


def matmul_rate(n: int = 1024, rounds: int = 9) -> float:
    """GFLOP/s of a product of two n × n matrices, the most that a network can reach: the best of some rounds."""
    a, b, times = torch.randn(n, n), torch.randn(n, n), []
    for _ in range(rounds):
        start = time.perf_counter()
        a @ b
        times.append(time.perf_counter() - start)
    return 2 * n**3 / min(times) / 1e9


@torch.no_grad()
def rate_row(name: str, call: Callable[[], object], rounds: int) -> str:
    """GFLOP of one call, GFLOP/s, and that as a share of what a matrix product reaches on the same cores.

    Products and convolutions are counted. The two take turns, and the best time of each counts.
    """
    with FlopCounterMode(display=False) as counter:
        call()
    times, rates = [], []
    for _ in range(rounds):
        rates.append(matmul_rate(rounds=3))
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    gigaflop = counter.get_total_flops() / 1e9
    rate = gigaflop / min(times)
    return f"| {name} | {gigaflop:.2f} | {rate:.0f} | {max(rates):.0f} | **{100 * rate / max(rates):.0f} %** |"


def rate_rows(rounds: int) -> list[str]:
    """How near our networks come to a matrix product."""
    unet, vae = make_unets()[0].eval(), make_vaes()[0].eval()
    rows = []
    for batch in (1, 8, 64):
        z_t, t, context = inputs(batch)
        rows.append(rate_row(f"U-Net forward, batch {batch}", partial(unet, z_t, t, context), rounds))
    z0 = torch.randn(16, 4, 8, 8)
    return [*rows, rate_row("VAE decode, batch 16", lambda: vae.decode(z0), rounds)]


def training_row(rounds: int):
    ours, peer = make_unets()
    z_t, t, context = inputs(64)
    target = torch.randn_like(z_t)
    optimizers = [torch.optim.AdamW(unet.parameters(), lr=1e-4, fused=True) for unet in (ours, peer)]

    def step(predict, optimizer):
        optimizer.zero_grad(set_to_none=True)
        F.mse_loss(predict(), target).backward()
        optimizer.step()

    return compare(
        "U-Net training step, batch 64",
        lambda: step(lambda: ours(z_t, t, context), optimizers[0]),
        lambda: step(lambda: peer(z_t, t, context).sample, optimizers[1]),
        rounds=rounds,
    )


@torch.no_grad()
def vae_rows(rounds: int) -> list:
    ours, peer = (vae.eval() for vae in make_vaes())
    image, z0 = torch.rand(16, 3, 64, 64) * 2 - 1, torch.randn(16, 4, 8, 8)
    scale = TINY.vae.scale
    return [
        compare(
            "VAE encode, batch 16",
            lambda: ours.encode(image),
            lambda: peer.encode(image).latent_dist.mode() * scale,
            rounds=rounds,
        ),
        compare("VAE decode, batch 16", lambda: ours.decode(z0), lambda: peer.decode(z0 / scale).sample, rounds=rounds),
    ]


@torch.no_grad()
def sampling_row(rounds: int):
    """50 guided DDIM steps, batch 4: our loop against the loop of diffusers' pipeline around its scheduler."""
    ours, peer = (unet.eval() for unet in make_unets())
    schedule = TINY.schedule()
    z, _, context = inputs(4)
    null = torch.randn(1, *context.shape[1:])
    scheduler = diffusers.DDIMScheduler.from_config(sampling_to_diffusers(Sampling(schedule, trailing)))

    def our_loop():
        return ddim(guided(ours, context, null, 4.0), z, schedule, timesteps(schedule, 50, trailing))

    def peer_loop():
        scheduler.set_timesteps(50)
        both, latents = torch.cat([null.expand(4, -1, -1), context]), z
        for t in scheduler.timesteps:
            noise = peer(torch.cat([latents, latents]), t, both).sample
            null_part, text_part = noise.chunk(2)
            latents = scheduler.step(null_part + 4.0 * (text_part - null_part), t, latents).prev_sample
        return latents

    torch.testing.assert_close(our_loop(), peer_loop(), rtol=1e-3, atol=1e-3)
    return compare("50 guided DDIM steps, batch 4", our_loop, peer_loop, rounds=max(rounds // 2, 3))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=21)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    logging.getLogger("diffusers").setLevel(logging.ERROR)  # it warns about keys that only newer configurations have
    rounds = arguments.rounds
    rows = [
        forward_row(1, 4 * rounds),
        forward_row(16, rounds),
        forward_row(64, rounds),
        training_row(rounds),
        *vae_rows(rounds),
        sampling_row(rounds),
    ]
    print(f"{hardware()}, diffusers {diffusers.__version__}\n")
    print("| | tinyldm | diffusers | times faster (middle half) | rounds |\n|---|---|---|---|---|")
    for row in rows:
        print(row.markdown())
    print(f"\nGeometric mean {geometric_mean(rows):.2f}, lowest {min(row.ratio for row in rows):.2f}.\n")
    print("| tinyldm | GFLOP | GFLOP/s | a matrix product's | share |\n|---|---|---|---|---|")
    print("\n".join(rate_rows(rounds)))


if __name__ == "__main__":
    main()
