"""The ground truth itself: densities, scores and entropies of the 2-D sets, against closed forms and autograd."""

import math

import pytest
import torch

from tinyldm.history import data

SETS = {d.name: d for d in data.four_sets()}
LEVELS = [(1.0, 0.3), (0.8, 0.6), (0.1, 0.995)]


@pytest.fixture(params=SETS)
def chosen(request):
    return SETS[request.param]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_mean_is_0_and_size_is_2(chosen):
    x = chosen.sample(200_000, generator())
    assert x.mean(dim=0).abs().max() < 0.012
    assert x.square().sum(dim=1).mean().item() == pytest.approx(2.0, abs=0.015)


def test_mixtures_have_the_two_moments_exactly():
    for chosen in (d for d in SETS.values() if isinstance(d, data.GaussianMixture)):
        w, m = chosen.weights.double(), chosen.means.double()
        assert (w @ m).abs().max() < 1e-6
        assert (w @ m.square().sum(dim=1) + 2 * chosen.std**2).item() == pytest.approx(2.0, abs=1e-5)


@pytest.mark.parametrize("signal, noise", [(1.0, 0.0), *LEVELS])
def test_density_integrates_to_one(chosen, signal, noise):
    width = 6 * math.sqrt(3) / 240
    middle = (torch.arange(240, dtype=torch.float64) + 0.5) * width - 3 * math.sqrt(3)
    strips = (torch.cartesian_prod(rows, middle) for rows in middle.split(40))
    total = sum(chosen.log_density(strip, signal, noise).exp().sum() for strip in strips)
    assert total.item() * width**2 == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("signal, noise", LEVELS)
def test_score_is_the_gradient_of_the_log_density(chosen, signal, noise):
    x = (2 * torch.randn(64, 2, generator=generator(1), dtype=torch.float64)).requires_grad_(True)
    (expected,) = torch.autograd.grad(chosen.log_density(x, signal, noise).sum(), x)
    torch.testing.assert_close(chosen.score(x.detach(), signal, noise), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("signal, noise", LEVELS)
def test_noised_density_is_the_average_kernel(chosen, signal, noise):
    """p(x) = E_{x_0} N(x; signal x_0, noise^2 I): the closed form against 200,000 samples of the data."""
    x0 = chosen.sample(200_000, generator(2))
    x = torch.randn(8, 2, generator=generator(3))
    squared = torch.cdist(x, signal * x0).square()
    kernel = (-squared / (2 * noise**2)).exp() / (2 * math.pi * noise**2)
    error = kernel.std(dim=1) / math.sqrt(len(x0))
    assert ((kernel.mean(dim=1) - chosen.log_density(x, signal, noise).exp()).abs() < 5 * error + 1e-6).all()


def test_score_at_a_noise_level_is_minus_the_mean_noise_over_sigma(chosen):
    """Tweedie: sigma * score = -E[eps | x], the conditional mean by importance weights over the data."""
    sigma = 0.4
    x0, x = chosen.sample(100_000, generator(4)), chosen.sample(6, generator(5))
    weights = (-torch.cdist(x, x0).square() / (2 * sigma**2)).softmax(dim=1)
    mean_eps = (x - weights @ x0) / sigma
    torch.testing.assert_close(-sigma * chosen.score(x, 1.0, sigma), mean_eps, rtol=0, atol=0.05)


def test_entropy_of_the_checkerboard_is_log2_of_its_area():
    assert data.entropy_bits(data.checkerboard()) == pytest.approx(math.log2(6), abs=1e-9)


def test_entropy_of_one_gaussian_is_the_closed_form():
    one = data.GaussianMixture("one", torch.zeros(1, 2), 0.7, torch.ones(1))
    assert data.entropy_bits(one) == pytest.approx(math.log2(2 * math.pi * math.e * 0.49), abs=1e-5)


def test_entropy_is_the_mean_surprise_of_samples(chosen):
    surprise = -chosen.log_density(chosen.sample(20_000, generator(6))) / math.log(2)
    error = surprise.std().item() / math.sqrt(len(surprise))
    assert surprise.mean().item() == pytest.approx(data.entropy_bits(chosen), abs=5 * error + 0.01)


def test_centres_along_a_curve_leave_no_ripple():
    """The docstring's 2 exp(-2 pi^2): a comb of unit normal densities at spacing 1 is flat to 5e-9."""
    comb = torch.arange(-40, 41, dtype=torch.float64)
    between = torch.linspace(0, 1, 101, dtype=torch.float64)
    heights = torch.stack([data.log_normal_pdf(comb - u).exp().sum() for u in between])
    ripple = ((heights.max() - heights.min()) / 2).item()
    assert ripple == pytest.approx(2 * math.exp(-2 * math.pi**2), rel=0.01)
    assert ripple == pytest.approx(5.3e-9, rel=0.02)


def test_spacing_of_the_curves_is_about_one_standard_deviation_or_less():
    for chosen in (data.swiss_roll(), data.two_moons()):
        gaps = chosen.means.diff(dim=0).norm(dim=1)
        assert gaps[gaps < 0.5].max() < 1.05 * chosen.std  # the jump from moon to moon is no gap


def test_moons_and_roll_are_scikit_learns_curves():
    from sklearn.datasets import make_moons

    curve = torch.from_numpy(make_moons(300, shuffle=False)[0])
    ours = data.two_moons().means.double()
    scale = (ours[0] - ours[149]).norm() / (curve[0] - curve[149]).norm()
    torch.testing.assert_close(ours, scale * (curve - curve.mean(dim=0)), rtol=0, atol=1e-5)


def test_checkerboard_points_lie_on_dark_squares():
    board = data.checkerboard()
    x = board.sample(5000, generator())
    cell = ((x + board.half_width) / (board.half_width / 2)).floor()
    assert (cell.sum(dim=1) % 2 == 0).all() and x.abs().max() <= board.half_width
    assert board.log_density(torch.tensor([[0.1, -0.1]]))[0] == -math.inf


def test_checkerboard_has_no_score_without_noise():
    with pytest.raises(ValueError, match="noise > 0, got 0"):
        data.checkerboard().score(torch.zeros(1, 2), 1.0, 0.0)


def test_sampling_is_reproducible_and_leaves_the_global_stream_alone(chosen):
    torch.manual_seed(11)
    expected = torch.rand(1)
    torch.manual_seed(11)
    first = chosen.sample(100, generator(7))
    assert torch.equal(first, chosen.sample(100, generator(7))) and torch.equal(torch.rand(1), expected)
