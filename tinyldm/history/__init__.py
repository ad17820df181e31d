"""Version history that runs: 2015, 2019 and 2020 on the same points, with the same network and budget.

Mirrors the article's section "Version history".  Read in this order:

    data.py                  four 2-D data sets with exact density, score and entropy
    network.py               the one small network and the one training loop
    notation.py              alpha_bar, sigma, log-SNR, score: one noising in the papers' notations
    nonequilibrium_2015.py   diffusion probabilistic models: mean and variance, the whole bound, in bits
    heartbeat_2015.py        the same with coin tosses for noise
    score_matching_2019.py   NCSN: denoising score matching, annealed Langevin dynamics
    ddpm_2020.py             DDPM: the simplified loss, ancestral sampling
    probability_flow.py      2021: one differential equation under both, exact likelihoods
    latent_space.py          2021: a latent space is a change of data
    timeline.py              2015 to Stable Diffusion XL, as data

Points are (B, 2); `x0`, `x_t` are the papers' letters.  `python -m tinyldm_course.history --help` trains, compares and
plots these methods.
"""
