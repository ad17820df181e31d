"""The statistics against scipy and closed forms."""

import math

import numpy as np
import pytest
import torch
from scipy import linalg, stats

from tinyldm.evaluation import statistics


@pytest.mark.parametrize(("right", "of"), [(0, 1), (1, 1), (0, 50), (50, 50), (7, 10), (995, 1000), (1, 4096)])
def test_share_equals_scipy(right, of):
    ours = statistics.share(right, of)
    theirs = stats.binomtest(right, of).proportion_ci(0.95, method="wilson")
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)
    assert ours.low <= ours.value <= ours.high


def test_share_covers_the_truth_95_times_in_100():
    rng = np.random.default_rng(0)
    for p in (0.5, 0.9, 0.98):
        found = [statistics.share(int(k), 400) for k in rng.binomial(400, p, 2000)]
        assert 0.93 < np.mean([share.low <= p <= share.high for share in found]) < 0.97


@pytest.mark.parametrize(("right", "of"), [(1, 0), (3, 2), (-1, 5), (0, 0)])
def test_share_refuses_nonsense(right, of):
    with pytest.raises(ValueError, match="right"):
        statistics.share(right, of)


def test_share_reads_well():
    assert str(statistics.share(90, 100)) == "90.0% (82.6% to 94.5% of 100)"


def test_shares_count_only_what_was_judged():
    both = {"colour": True, "strict": True}
    found = statistics.shares([both, {"strict": False}, both])
    assert (found["colour"].right, found["colour"].of) == (2, 2)
    assert (found["strict"].right, found["strict"].of) == (2, 3)
    assert statistics.shares([]) == {}


def test_frechet_distance_equals_scipy():
    rng = np.random.default_rng(1)
    a = rng.normal(size=(300, 12)) @ rng.normal(size=(12, 12))
    b = rng.normal(size=(500, 12)) @ rng.normal(size=(12, 12)) + 0.3
    ca, cb = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = linalg.sqrtm(ca @ cb).real
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(ca + cb - 2 * root)
    assert statistics.frechet_distance(torch.tensor(a), torch.tensor(b)) == pytest.approx(expected, rel=1e-9)
    assert statistics.frechet_distance(torch.tensor(b), torch.tensor(a)) == pytest.approx(expected, rel=1e-9)


def test_frechet_distance_of_independent_gaussians():
    """Diagonal covariances: the sum over axes of (μ₁ - μ₂)² + (σ₁ - σ₂)²."""
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(200_000, 2, generator=generator) * torch.tensor([1.0, 2.0])
    b = torch.randn(200_000, 2, generator=generator) * torch.tensor([3.0, 2.0]) + torch.tensor([0.0, 5.0])
    assert statistics.frechet_distance(a, b) == pytest.approx(4 + 25, rel=0.01)


def test_frechet_distance_edge_cases():
    a = torch.randn(40, 64, generator=torch.Generator().manual_seed(0))  # fewer images than features
    assert statistics.frechet_distance(a, a) == pytest.approx(0, abs=1e-6)
    assert statistics.frechet_distance(a, a + 2) == pytest.approx(64 * 4, rel=1e-5)
    assert statistics.frechet_distance(a[:, :1], a[:, :1] + 1) == pytest.approx(1, rel=1e-5)
    for bad in (a[:1], a[0]):
        with pytest.raises(ValueError, match="N ≥ 2"):
            statistics.frechet_distance(bad, a)
    with pytest.raises(ValueError, match="same width"):
        statistics.frechet_distance(a, a[:, :5])


def test_psnr():
    image = torch.zeros(2, 3, 4, 4)
    other = torch.stack([torch.full((3, 4, 4), 0.1), torch.zeros(3, 4, 4)])
    assert statistics.psnr(image, other).tolist() == pytest.approx([20, math.inf])
    assert statistics.psnr(image, other, peak=2)[0].item() == pytest.approx(20 + 20 * math.log10(2))
    with pytest.raises(ValueError, match="the same shape"):
        statistics.psnr(image, image[:1])


def test_nearest_finds_what_brute_force_finds():
    rng = np.random.default_rng(2)
    among = torch.from_numpy(rng.integers(0, 256, (70, 3, 8, 8), dtype=np.uint8))
    images = among[[3, 69, 41]].float()
    images[2] += 7
    distance, index = statistics.nearest(images, among, chunk=16)
    assert index.tolist() == [3, 69, 41]
    assert distance.tolist() == pytest.approx([0, 0, 7], abs=0.1)
    brute = (images[:, None] - among.float()).square().flatten(2).mean(2).sqrt()
    assert torch.allclose(distance, brute.min(1).values, atol=0.1)
    with pytest.raises(ValueError, match="cannot compare"):
        statistics.nearest(images, among[:, :, :4])


def test_memorised_tells_copies_from_new_images():
    generator = torch.Generator().manual_seed(3)
    training, fresh, new = (torch.rand(400, 3, 8, 8, generator=generator) for _ in range(3))
    copies = training[:100] + 0.01 * torch.randn(100, 3, 8, 8, generator=generator)
    assert statistics.memorised(copies, training, fresh).value == 1
    assert statistics.memorised(new, training, fresh).value < 0.05
