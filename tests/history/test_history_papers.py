"""2015, 2019 and 2020: each formula against something that is not itself."""

import itertools
import math

import pytest
import torch

from tinyldm.history import data, ddpm_2020, heartbeat_2015, network, nonequilibrium_2015, score_matching_2019

TINY = network.Budget(steps=30, batch=64)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def randn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=generator(seed))


# The shared network.


def test_network_reads_each_points_own_noise_level():
    net = network.NoiseMLP(2, 2, generator())
    x, u = randn(5, 2), torch.rand(5, generator=generator(1))
    rows = torch.cat([net(x[i : i + 1], u[i : i + 1]) for i in range(5)])
    torch.testing.assert_close(net(x, u), rows)
    assert not torch.allclose(net(x, u), net(x, 1 - u))


@pytest.mark.parametrize("x, u", [((4, 3), (4,)), ((4, 2), (3,)), ((4, 2), (4, 1)), ((2,), (2,))])
def test_network_names_wrong_shapes(x, u):
    with pytest.raises(ValueError, match=r"expected x \(B, 2\) and u \(B,\), got"):
        network.NoiseMLP(2, 2, generator())(torch.zeros(x), torch.zeros(u))


def test_layers_start_like_torchs_own():
    torch.manual_seed(0)
    theirs, ours = torch.nn.Linear(50, 4000), network.linear(50, 4000, generator())
    assert ours.weight.std().item() == pytest.approx(theirs.weight.std().item(), rel=0.01)
    assert ours.weight.abs().max() <= 1 / math.sqrt(50) and ours.bias.abs().max() <= 1 / math.sqrt(50)


TRAIN = {
    "2015": lambda x, g: nonequilibrium_2015.train(x, nonequilibrium_2015.constant_share_schedule(), g, TINY),
    "2019": lambda x, g: score_matching_2019.train(x, score_matching_2019.geometric_levels(), g, TINY),
    "2020": lambda x, g: ddpm_2020.train(x, ddpm_2020.linear_schedule(), g, TINY),
}


@pytest.mark.parametrize("year", TRAIN)
def test_training_is_reproducible_and_leaves_the_global_stream_and_the_data_alone(year):
    x = data.swiss_roll().sample(100, generator())
    before = x.clone()
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    nets = [TRAIN[year](x, generator(1)) for _ in range(2)]
    assert torch.equal(torch.rand(1), expected) and torch.equal(x, before)
    for a, b in zip(nets[0].parameters(), nets[1].parameters()):
        assert torch.equal(a, b)


@pytest.mark.parametrize("year", TRAIN)
def test_training_names_a_wrong_shape(year):
    with pytest.raises(ValueError, match=r"shape \(N, 2\), got \(10, 3\)"):
        TRAIN[year](torch.zeros(10, 3), generator())


def test_three_papers_have_the_same_number_of_weights_but_for_2015s_variance():
    nets = {year: train(randn(10, 2), generator()) for year, train in TRAIN.items()}
    sizes = {year: sum(p.numel() for p in net.parameters()) for year, net in nets.items()}
    assert sizes["2019"] == sizes["2020"]
    assert sizes["2015"] - sizes["2020"] == 2 * 96 + 2  # the head's two more outputs: log-odds of the variance


# 2015.


def test_2015_one_jump_is_the_composition_of_the_steps():
    """Push mean and variance through eq. 2 step by step; compare with alpha_bar."""
    q = nonequilibrium_2015.constant_share_schedule(40)
    mean, variance = 1.0, 0.0
    for beta, alpha_bar in zip(q.beta.double(), q.alpha_bar.double()):
        mean, variance = (1 - beta).sqrt() * mean, (1 - beta) * variance + beta
        assert float(mean) ** 2 == pytest.approx(alpha_bar.item(), rel=1e-4)
        assert float(variance) == pytest.approx(1 - alpha_bar.item(), rel=1e-4)


def test_2015_schedule_removes_a_constant_share_and_ends_at_one_in_T():
    q = nonequilibrium_2015.constant_share_schedule(40, beta_1=1 / 40)
    share = torch.cat([torch.ones(1), q.alpha_bar]).diff()
    assert (share[:-1] + 1 / 40).abs().max() < 0.002
    assert q.alpha_bar[-1].item() == pytest.approx(1 / 40, rel=0.1)


def test_2015_posterior_is_bayes_rule_on_a_grid():
    """q(x^{t-1}|x^t,x^0) from two normal densities multiplied and normalised numerically."""
    q = nonequilibrium_2015.constant_share_schedule(40)
    grid = torch.linspace(-8, 8, 40_001, dtype=torch.float64)
    for t, x0, x_t in itertools.product((1, 10, 39), (-1.3, 0.4), (-0.5, 2.0)):
        beta, before = q.beta[t].double(), q.alpha_bar[t - 1].double()
        past = (grid - before.sqrt() * x0) ** 2 / (2 * (1 - before))
        future = (x_t - (1 - beta).sqrt() * grid) ** 2 / (2 * beta)
        p = (-past - future).softmax(dim=0)
        mean, variance = nonequilibrium_2015.forward_posterior(
            torch.tensor([[x0, 0.0]]), torch.tensor([[x_t, 0.0]]), torch.tensor([t]), q
        )
        assert mean[0, 0].item() == pytest.approx((p @ grid).item(), abs=1e-4)
        assert variance.item() == pytest.approx((p @ (grid - p @ grid) ** 2).item(), rel=1e-3)


def test_2015_kl_is_torchs():
    mean_q, mean_p, log_q, log_p = (randn(7, 2, seed=s) for s in range(4))
    q, p = (torch.distributions.Normal(m, v.exp().sqrt()) for m, v in ((mean_q, log_q), (mean_p, log_p)))
    expected = torch.distributions.kl_divergence(q, p).sum(dim=1)
    torch.testing.assert_close(nonequilibrium_2015.gaussian_kl(mean_q, log_q.exp(), mean_p, log_p.exp()), expected)


def test_2015_bound_is_the_entropy_where_the_reverse_is_exact():
    """Data N(0, I) do not change under the chain, so the untrained perturbation 0 is exact and -K = log2(2 pi e)."""
    q = nonequilibrium_2015.constant_share_schedule(20)
    kernel = nonequilibrium_2015.ReverseKernel(q, generator())
    torch.nn.init.zeros_(kernel.net.out.weight), torch.nn.init.zeros_(kernel.net.out.bias)
    bits = nonequilibrium_2015.bits(kernel, randn(40_000, 2), generator(1))
    error = bits.std().item() / 200
    assert error < 0.02
    assert bits.mean().item() == pytest.approx(math.log2(2 * math.pi * math.e), abs=4 * error)


def test_2015_worse_kernels_cost_bits():
    q = nonequilibrium_2015.constant_share_schedule(20)
    kernel = nonequilibrium_2015.ReverseKernel(q, generator())
    torch.nn.init.zeros_(kernel.net.out.weight)
    means = []
    for bias in (0.0, 0.3, 1.0):
        torch.nn.init.constant_(kernel.net.out.bias, bias)
        means.append(nonequilibrium_2015.bits(kernel, randn(4000, 2), generator(1)).mean().item())
    assert means[0] < means[1] - 0.1 and means[1] < means[2] - 0.5


@pytest.mark.parametrize("T, beta_1", [(1, 0.1), (10, 0.0), (10, 1.0)])
def test_2015_schedule_names_a_mistake(T, beta_1):
    with pytest.raises(ValueError, match="expected T >= 2 and 0 < beta_1 < 1"):
        nonequilibrium_2015.constant_share_schedule(T, beta_1)


def test_2015_sampling_returns_the_whole_way():
    q = nonequilibrium_2015.constant_share_schedule(5)
    kernel = nonequilibrium_2015.ReverseKernel(q, generator())
    path = nonequilibrium_2015.sample(kernel, 7, generator())
    assert path.shape == (6, 7, 2) and not path.requires_grad


# 2015's heartbeat.


def all_bits(n: int) -> torch.Tensor:
    return torch.tensor(list(itertools.product((0.0, 1.0), repeat=n)))


def test_heartbeat_is_five_sequences_of_20_with_a_one_every_fifth_place():
    sequences = heartbeat_2015.all_heartbeats()
    assert sequences.shape == (5, 20) and (sequences.sum(dim=0) == 1).all() and (sequences.sum(dim=1) == 4).all()
    assert heartbeat_2015.ENTROPY_BITS == pytest.approx(2.3219, abs=1e-4)


def test_heartbeat_one_jump_is_the_composition_of_the_steps():
    """Multiply the 2x2 transition matrices of eq. 2; after T steps every bit is a fair coin."""
    q = heartbeat_2015.BinomialDiffusion(T=30)
    product = torch.eye(2, dtype=torch.float64)
    for t in range(30):
        beta, keep = q.beta(torch.tensor([t])).item(), q.keep(torch.tensor([t])).item()
        product = product @ torch.tensor([[1 - beta / 2, beta / 2], [beta / 2, 1 - beta / 2]], dtype=torch.float64)
        assert product[1, 1].item() == pytest.approx(keep + (1 - keep) / 2, abs=1e-6)
    assert product[0, 0].item() == pytest.approx(0.5, abs=1e-7)


def test_heartbeat_diffuse_flips_with_the_composed_probability():
    q = heartbeat_2015.BinomialDiffusion(T=30)
    for t in (0, 10, 29):
        x_t = heartbeat_2015.diffuse(torch.ones(4000, 20), torch.full((4000,), t), q, generator(t))
        assert x_t.mean().item() == pytest.approx(0.5 + 0.5 * (1 - (t + 1) / 30), abs=0.01)


def test_heartbeat_posterior_is_bayes_rule():
    q = heartbeat_2015.BinomialDiffusion(T=30)
    for t, a, b in itertools.product((1, 15, 29), (0.0, 1.0), (0.0, 1.0)):
        index = torch.tensor([t])
        beta, keep = q.beta(index).item(), q.keep(index - 1).item()
        b_from_x0 = (1 + keep) / 2 if b == a else (1 - keep) / 2  # q(x^{t-1} = b | x^0)
        flip, stay = beta / 2 * (1 - b_from_x0), (1 - beta / 2) * b_from_x0
        ours = heartbeat_2015.posterior_flip_log_odds(torch.full((1, 20), a), torch.full((1, 20), b), index, q)
        assert ours[0, 0].item() == pytest.approx(math.log(flip / stay), abs=1e-4)


def test_heartbeat_kl_is_torchs_and_keeps_rare_events():
    a, b = 3 * randn(50, 20), 3 * randn(50, 20, seed=1)
    q, p = (torch.distributions.Bernoulli(logits=logits.double()) for logits in (a, b))
    expected = torch.distributions.kl_divergence(q, p)
    torch.testing.assert_close(heartbeat_2015.bernoulli_kl(a, b).double(), expected, rtol=1e-3, atol=1e-6)
    rare = heartbeat_2015.bernoulli_kl(torch.tensor(-16.0), torch.tensor(-15.0)).item()
    p, r = 1 / (1 + math.exp(16)), 1 / (1 + math.exp(15))
    assert rare == pytest.approx(p * math.log(p / r) - math.log1p(-r) + math.log1p(-p), rel=1e-3)


def test_heartbeat_exact_kernel_is_the_average_posterior_by_enumeration():
    """P(x^{t-1}_i | x^t) summed over the five x^0, with every probability written out."""
    q, t = heartbeat_2015.BinomialDiffusion(T=30), 20
    index = torch.tensor([t])
    beta, keep, before = q.beta(index).item(), q.keep(index).item(), q.keep(index - 1).item()
    x_t = torch.randint(2, (1, 20), generator=generator(3)).float()
    joint_flip, total = torch.zeros(20, dtype=torch.float64), 0.0
    for x0 in heartbeat_2015.all_heartbeats():
        same = x0 == x_t[0]
        likelihood = torch.where(same, (1 + keep) / 2, (1 - keep) / 2).double().prod()
        was_other = torch.where(same, (1 - before) / 2, (1 + before) / 2).double() * beta / 2
        was_same = torch.where(same, (1 + before) / 2, (1 - before) / 2).double() * (1 - beta / 2)
        joint_flip += likelihood * was_other / (was_other + was_same)
        total += likelihood
    ours = heartbeat_2015.exact_kernel(q)(x_t, index)[0]
    torch.testing.assert_close(torch.sigmoid(ours).double(), joint_flip / total, rtol=1e-4, atol=1e-6)


def test_heartbeat_vote_of_the_true_bit_is_the_exact_posterior():
    q = heartbeat_2015.BinomialDiffusion(T=30)
    kernel = heartbeat_2015.LearntKernel(q, generator())
    x0 = heartbeat_2015.heartbeats(1, generator(1))
    torch.nn.init.zeros_(kernel.net.out.weight)
    kernel.net.out.bias.data = 2 * x0[0] - 1
    x_t, t = torch.randint(2, (6, 20), generator=generator(2)).float(), torch.arange(1, 30, 5)
    torch.testing.assert_close(kernel(x_t, t), heartbeat_2015.posterior_flip_log_odds(x0, x_t, t, q))


def test_heartbeat_best_bound_is_above_the_entropy_and_falls_with_more_steps():
    bits = {}
    for T in (50, 400):
        q = heartbeat_2015.BinomialDiffusion(T)
        bits[T] = heartbeat_2015.bits(heartbeat_2015.exact_kernel(q), q, generator(), draws=20)
    assert heartbeat_2015.ENTROPY_BITS < bits[400] < bits[50] - 0.5


@pytest.mark.slow
def test_heartbeat_learns_the_five_sequences():
    """The paper's model reaches 2.414 bits; the data have 2.322; ours: within 0.6 bit, 9 of 10 samples right."""
    q = heartbeat_2015.BinomialDiffusion()
    x_train = heartbeat_2015.heartbeats(2000, generator())
    kernel = heartbeat_2015.train(x_train, q, generator(1), network.Budget(steps=3000))
    bits = heartbeat_2015.bits(kernel, q, generator(2), draws=10)
    assert heartbeat_2015.ENTROPY_BITS < bits < heartbeat_2015.ENTROPY_BITS + 0.6
    samples = heartbeat_2015.sample(kernel, 300, q, generator(3))[-1]
    assert heartbeat_2015.share_of_heartbeats(samples) > 0.9
    phases = (samples[:, None] == heartbeat_2015.all_heartbeats()).all(dim=2).float().mean(dim=0)
    assert phases.min() > 0.1  # all five, none forgotten


# 2019.


def test_2019_levels_have_a_constant_ratio():
    sigmas = score_matching_2019.geometric_levels(3.0, 0.03, 10)
    ratios = sigmas[1:] / sigmas[:-1]
    assert sigmas[0].item() == pytest.approx(3.0) and sigmas[-1].item() == pytest.approx(0.03, rel=1e-5)
    assert (ratios - ratios[0]).abs().max() < 1e-6
    with pytest.raises(ValueError, match="sigma_1 > sigma_L > 0"):
        score_matching_2019.geometric_levels(0.1, 0.3)


class FakeScore(torch.nn.Module):
    """A wrong but known score: the exact one, bent."""

    def __init__(self, chosen: data.DataSet, bend: float):
        super().__init__()
        self.chosen, self.bend = chosen, bend

    def forward(self, x, sigma):
        return self.chosen.score(x, 1.0, sigma[0].item()) + self.bend * torch.sin(2 * x)


def test_2019_denoising_loss_differs_from_the_true_one_by_a_constant():
    """Vincent 2011: E[DSM(s)] - E[sigma^2/2 |s - exact|^2] is the same for every s."""
    chosen, sigma, n = data.ring_of_gaussians(), 0.5, 200_000
    x = chosen.sample(n, generator())
    level = torch.full((n,), sigma)
    gaps = []
    for bend in (0.0, 0.5, -1.0):
        s = FakeScore(chosen, bend)
        denoising = score_matching_2019.denoising_score_matching(s, x, level, generator(1)).mean().item()
        x_noisy = x + sigma * randn(n, 2, seed=2)
        true = 0.5 * sigma**2 * (bend * torch.sin(2 * x_noisy)).square().sum(dim=1).mean().item()
        gaps.append(denoising - true)
    assert max(gaps) - min(gaps) < 0.01 < 0.1 < min(gaps)


def test_2019_langevin_has_the_stationary_variance_of_its_step():
    """On N(0, 1): x' = (1 - step/2) x + sqrt(step) z settles at step / (1 - (1 - step/2)^2), near 1 for small steps."""
    step = 0.2
    end = score_matching_2019.langevin(lambda x: -x, torch.zeros(20_000, 2), step, 100, generator())[-1]
    assert end.var().item() == pytest.approx(step / (1 - (1 - step / 2) ** 2), rel=0.02)


def test_2019_annealed_step_follows_algorithm_1():
    """Line 3 and 6 with the noise known: one level, one step."""
    x, sigmas = randn(5, 2), torch.tensor([2.0, 0.5])
    out = score_matching_2019.annealed_langevin(lambda x, sigma: -x / sigma, x, sigmas, 0.1, 1, generator(4))
    noise = generator(4)
    for sigma, got in zip((2.0, 0.5), out[1:]):
        alpha = 0.1 * sigma**2 / 0.25
        x = x + alpha / 2 * (-x / sigma) + math.sqrt(alpha) * torch.randn(5, 2, generator=noise)
        torch.testing.assert_close(got, x)


def share_above(points: torch.Tensor) -> float:
    """The share of points beyond the diagonal between the two modes."""
    return (points.sum(dim=1) > 0).float().mean().item()


def test_2019_plain_langevin_gets_the_weights_of_distant_modes_wrong_and_annealing_gets_them_right():
    """Section 3.2.2, exact score, uniform start: half of plain Langevin's points end in the mode of weight 0.8."""
    from tinyldm_course.history.report import distant_modes_annealed

    modes = data.two_distant_modes()
    start = 16 * torch.rand(2000, 2, generator=generator()) - 8
    plain = score_matching_2019.langevin(modes.score, start, 0.1, 1000, generator(1))[-1]
    annealed = distant_modes_annealed(start, generator(2))
    assert abs(share_above(plain) - 0.5) < 0.1
    assert abs(share_above(annealed) - 0.8) < 0.05
    assert modes.log_density(plain).mean() > -5  # within each mode it has converged


# 2020.


def times(n: int, low: int = 1) -> torch.Tensor:
    return torch.randint(low, 1000, (n,), generator=generator(9))


def test_2020_schedule_is_diffusers():
    from diffusers import DDPMScheduler

    theirs = DDPMScheduler(num_train_timesteps=1000, beta_start=1e-4, beta_end=0.02, beta_schedule="linear")
    ours = ddpm_2020.linear_schedule()
    torch.testing.assert_close(ours.beta, theirs.betas, rtol=1e-5, atol=0)
    torch.testing.assert_close(ours.alpha_bar, theirs.alphas_cumprod, rtol=1e-4, atol=0)


def test_2020_sampling_step_is_diffusers():
    """Line 4 of Algorithm 2 with the same noise; variance_type "fixed_large" is sigma_t^2 = beta_t."""
    from diffusers import DDPMScheduler

    theirs = DDPMScheduler(variance_type="fixed_large", clip_sample=False)
    q, x_t, eps = ddpm_2020.linear_schedule(), randn(8, 2), randn(8, 2, seed=1)
    for t in (1, 400, 999):
        expected = theirs.step(eps, t, x_t, generator=generator(5)).prev_sample
        mean = ddpm_2020.reverse_mean(x_t, torch.full((8,), t), eps, q)
        ours = mean + q.beta[t].sqrt() * randn(8, 2, seed=5)
        torch.testing.assert_close(ours, expected, rtol=1e-3, atol=1e-4)


def test_2020_chain_is_2015s_chain():
    """Eq. 7 and Table App.1 of 2015 are one formula written twice."""
    q20 = ddpm_2020.linear_schedule()
    q15 = nonequilibrium_2015.Diffusion2015(q20.beta, q20.alpha_bar)
    x0, x_t, t = randn(200, 2), randn(200, 2, seed=1), times(200)
    of_2015 = nonequilibrium_2015.forward_posterior(x0, x_t, t, q15)
    for ours, older in zip(ddpm_2020.posterior(x0, x_t, t, q20), of_2015):
        torch.testing.assert_close(ours, older, rtol=1e-2, atol=1e-3)


def test_2020_mean_from_the_true_noise_is_the_posterior_mean():
    """Eq. 11 at eps_theta = eps gives eq. 7."""
    q, x0, eps, t = ddpm_2020.linear_schedule(), randn(200, 2), randn(200, 2, seed=1), times(200)
    x_t = ddpm_2020.q_sample(x0, t, eps, q)
    expected = ddpm_2020.posterior(x0, x_t, t, q)[0]
    torch.testing.assert_close(ddpm_2020.reverse_mean(x_t, t, eps, q), expected, rtol=1e-3, atol=2e-4)


def double(q: ddpm_2020.Diffusion2020) -> ddpm_2020.Diffusion2020:
    """The schedule without float32's rounding, for comparisons of small differences."""
    beta = q.beta.double()
    return ddpm_2020.Diffusion2020(beta, (1 - beta).cumprod(0))


def test_2020_weighted_error_is_a_term_of_2015s_bound():
    """2015's KL between Gaussians of variance beta_t equals bound_weight x |eps - eps_hat|^2 (eq. 8 to 12)."""
    q = double(ddpm_2020.linear_schedule())
    x0, eps, eps_hat = (randn(300, 2, seed=s).double() for s in range(3))
    t = times(300)
    x_t = ddpm_2020.q_sample(x0, t, eps, q)
    mean_q = ddpm_2020.posterior(x0, x_t, t, q)[0]
    mean_p, variance = ddpm_2020.reverse_mean(x_t, t, eps_hat, q), q.beta[t][:, None].expand(-1, 2)
    kl = nonequilibrium_2015.gaussian_kl(mean_q, variance, mean_p, variance)
    error = (eps - eps_hat).square().sum(dim=1)
    torch.testing.assert_close(kl, ddpm_2020.bound_weight(q)[t] * error, rtol=1e-6, atol=1e-9)


def test_2020_simple_loss_is_2019s_loss():
    """|eps - eps_hat|^2 / 2 = sigma^2/2 |s + (x~ - x)/sigma^2|^2 at x~ = x_t / sqrt(abar_t), s = -eps_hat / sigma_t."""
    q, x0, eps, eps_hat = ddpm_2020.linear_schedule(), randn(300, 2), randn(300, 2, seed=1), randn(300, 2, seed=2)
    t = times(300, low=0)
    sigma = q.sigma()[t][:, None]
    x_noisy = ddpm_2020.q_sample(x0, t, eps, q) / q.alpha_bar[t][:, None].sqrt()
    score = -eps_hat / sigma
    of_2019 = 0.5 * sigma[:, 0] ** 2 * (score + (x_noisy - x0) / sigma**2).square().sum(dim=1)
    torch.testing.assert_close(of_2019, 0.5 * (eps - eps_hat).square().sum(dim=1), rtol=1e-2, atol=1e-3)


def test_2020_weights_favour_small_t():
    """The docstring of bound_weight: largest at small t, and L_simple's 1 is below it there, above it nowhere after."""
    weight = ddpm_2020.bound_weight(ddpm_2020.linear_schedule())
    assert weight.argmax() == 0 and weight[0] > 0.4 and weight[100:].max() < 0.1


def test_2020_respacing_keeps_alpha_bar_and_at_T_changes_nothing():
    q = ddpm_2020.linear_schedule()
    whole, all_times = ddpm_2020.every_kth(q, 1000)
    assert torch.equal(all_times, torch.arange(1000))
    torch.testing.assert_close(whole.beta, q.beta, rtol=5e-3, atol=1e-6)
    for steps in (1, 2, 7, 50):
        short, at = ddpm_2020.every_kth(q, steps)
        assert len(at) == steps and at[-1] == 999
        torch.testing.assert_close(short.alpha_bar, q.alpha_bar[at])
        torch.testing.assert_close((1 - short.beta.double()).cumprod(0).float(), short.alpha_bar, rtol=1e-3, atol=1e-7)
    with pytest.raises(ValueError, match="1 <= steps <= 1000"):
        ddpm_2020.every_kth(q, 1001)


def test_2020_forward_is_iterated_noise_in_one_jump():
    """The article's "iteratively": 50 single steps and one jump agree in mean and covariance."""
    q, n = ddpm_2020.linear_schedule(), 50_000
    x0 = data.two_moons().sample(n, generator())
    x, noise = x0, generator(1)
    for t in range(300):
        x = (1 - q.beta[t]).sqrt() * x + q.beta[t].sqrt() * torch.randn(n, 2, generator=noise)
    jump = ddpm_2020.q_sample(x0, torch.full((n,), 299), randn(n, 2, seed=2), q)
    torch.testing.assert_close(x.mean(dim=0), jump.mean(dim=0), rtol=0, atol=0.02)
    torch.testing.assert_close(torch.cov(x.T), torch.cov(jump.T), rtol=0, atol=0.03)
    regression = (x * x0).mean() / x0.square().mean()
    assert regression.item() == pytest.approx(q.alpha_bar[299].sqrt().item(), abs=0.01)
