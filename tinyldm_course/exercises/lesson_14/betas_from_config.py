"""Exercise betas_from_config of lesson 14: A schedule from its file."""

import torch
from torch import Generator, Tensor

from tinyldm import forward_diffusion
from tinyldm_course.checks.calls import Call
from tinyldm_course.checks.exercise import Exercise, Wrong
from tinyldm_course.exercises.inputs import uniform


def betas_from_config(config):
    """β of a diffusers scheduler: (T,).

    config: a dictionary, as read from scheduler_config.json.  Raises ValueError for an unknown beta_schedule.
    """
    ### BEGIN SOLUTION
    T = config["num_train_timesteps"]
    start, end = config.get("beta_start", 0.0001), config.get("beta_end", 0.02)
    if config["beta_schedule"] == "linear":
        return torch.linspace(start, end, T)
    if config["beta_schedule"] == "scaled_linear":
        return torch.linspace(start**0.5, end**0.5, T) ** 2
    raise ValueError(f"beta_schedule is {config['beta_schedule']!r}; expected linear or scaled_linear")
    ### END SOLUTION


def config_cases(generator: Generator) -> list[Call]:
    """A scheduler_config.json, as a dictionary."""

    def config(name: str, T: int, **more) -> dict:
        start = uniform(0.001, 0.01, generator)
        return {
            "beta_schedule": name,
            "num_train_timesteps": T,
            "beta_start": start,
            "beta_end": start + uniform(0.01, 0.1, generator),
            **more,
        }

    def without(given: dict, *keys: str) -> dict:
        return {key: value for key, value in given.items() if key not in keys}

    calls = [
        config("linear", 3),
        config("scaled_linear", 4),
        config("scaled_linear", 100, steps_offset=1),
        without(config("linear", 3), "beta_start"),
        without(config("scaled_linear", 5), "beta_end"),
        {"beta_schedule": "scaled_linear", "num_train_timesteps": 7},
        config("squaredcos_cap_v2", 6),
        config("sigmoid", 5),
        config("my_linear", 5),
        config("my_scaled_linear", 5),
        config("linear_v2", 5),
        config("scaled_v2", 5),
        config("linear", 50),
    ]
    return [Call((given,)) for given in calls]


def by_name(config, scaled, linear):
    """One of two functions (T, start, end) -> (T,)."""
    name, T = config["beta_schedule"], config["num_train_timesteps"]
    ends = config.get("beta_start", 0.0001), config.get("beta_end", 0.02)
    if name not in ("linear", "scaled_linear"):
        raise ValueError(f"beta_schedule is {name!r}; expected linear or scaled_linear")
    return (scaled if name == "scaled_linear" else linear)(T, *ends)


def config_in_parts(config: dict) -> Tensor:
    """β of "linear" or "scaled_linear"."""
    return by_name(config, forward_diffusion.scaled_linear_betas, forward_diffusion.linear_betas)


def config_as_in_compvis(config):
    scaled = forward_diffusion.scaled_linear_betas
    return by_name(config, scaled, scaled)


def config_swapped(config):
    return by_name(config, forward_diffusion.linear_betas, forward_diffusion.scaled_linear_betas)


def config_name_ignored(config):
    return betas_from_config(config | {"beta_schedule": "linear"})


def config_always_scaled(config):
    return betas_from_config(config | {"beta_schedule": "scaled_linear"})


def config_both_linear(config):
    return by_name(config, forward_diffusion.linear_betas, forward_diffusion.linear_betas)


def config_ends_as_a_pair(config):
    ends = config.keys() & {"beta_start", "beta_end"}
    return betas_from_config(config if len(ends) == 2 else {key: config[key] for key in config.keys() - ends})


def config_cosine_made(config):
    if config["beta_schedule"] == "squaredcos_cap_v2":
        return forward_diffusion.cosine_betas(config["num_train_timesteps"])
    return betas_from_config(config)


def config_squared_without_roots(config):
    linear = forward_diffusion.linear_betas
    return by_name(config, lambda *given: linear(*given) ** 2, linear)


def config_end_missing(config):
    return betas_from_config(config | {"num_train_timesteps": config["num_train_timesteps"] + 1})[:-1]


def config_alpha(config):
    return 1 - betas_from_config(config)


def config_alpha_bar(config):
    return (1 - betas_from_config(config)).cumprod(0)


def config_not_squared(config):
    betas = betas_from_config(config)
    return betas.sqrt() if config["beta_schedule"] == "scaled_linear" else betas


def config_of_stable_diffusion(config):
    wanted = {"beta_start": 0.00085, "beta_end": 0.012} | config
    return by_name(wanted, forward_diffusion.scaled_linear_betas, forward_diffusion.linear_betas)


def config_fixed_ends(config):
    return betas_from_config(config | {"beta_start": 0.00085, "beta_end": 0.012})


def config_anything_goes(config):
    wanted = config if config["beta_schedule"] == "scaled_linear" else config | {"beta_schedule": "linear"}
    return betas_from_config(wanted)


def config_one_too_many(config):
    return by_name(
        config,
        lambda T, start, end: torch.linspace(start**0.5, end**0.5, T + 1) ** 2,
        lambda T, start, end: torch.linspace(start, end, T + 1),
    )


def config_falling(config):
    return betas_from_config(config).flip(0)


def config_thousand(config):
    return betas_from_config({**config, "num_train_timesteps": 1000})


def config_keys_required(config):
    return betas_from_config({**config, "beta_start": config["beta_start"], "beta_end": config["beta_end"]})


def config_rooted(config):
    return betas_from_config(config).sqrt()


def config_matching(is_scaled, is_linear):
    """A wrong answer that looks at a part of the name only."""

    def answer(config):
        name = config["beta_schedule"]
        known = "scaled_linear" if is_scaled(name) else "linear" if is_linear(name) else name
        return betas_from_config(config | {"beta_schedule": known})

    return answer


def config_defaults(config):
    return betas_from_config({key: config[key] for key in config.keys() - {"beta_start", "beta_end"}})


def config_others_scaled(config):
    return betas_from_config(
        config if config["beta_schedule"] == "linear" else config | {"beta_schedule": "scaled_linear"}
    )


def config_none_for_unknown(config):
    return betas_from_config(config) if config["beta_schedule"] in ("linear", "scaled_linear") else None


def config_end_missing_if_scaled(config):
    return config_end_missing(config) if config["beta_schedule"] == "scaled_linear" else betas_from_config(config)


def config_end_missing_if_linear(config):
    return config_end_missing(config) if config["beta_schedule"] == "linear" else betas_from_config(config)


def config_by_powers(config):
    power = {"linear": 1, "scaled_linear": 2}.get(config["beta_schedule"])
    if power is None:
        raise ValueError("an unknown schedule")
    start, end = config.get("beta_start", 1e-4), config.get("beta_end", 2e-2)
    return torch.linspace(start ** (1 / power), end ** (1 / power), config["num_train_timesteps"]) ** power


def config_by_loop(config):
    T, start, end = config["num_train_timesteps"], config.get("beta_start", 1e-4), config.get("beta_end", 2e-2)
    if config["beta_schedule"] == "linear":
        return torch.tensor([start + (end - start) * i / (T - 1) for i in range(T)])
    if config["beta_schedule"] == "scaled_linear":
        return torch.tensor([(start**0.5 + (end**0.5 - start**0.5) * i / (T - 1)) ** 2 for i in range(T)])
    raise ValueError(config["beta_schedule"])


PART_OF_THE_NAME = (
    'You accept names of which only a part fits, such as "my_linear" or "linear_v2". Compare the whole '
    "name with ==, and raise a ValueError for any other."
)


EXERCISE = Exercise(
    name="betas_from_config",
    title="A schedule from its file",
    stars=1,
    minutes=10,
    answer=betas_from_config,
    cases=config_cases,
    hints=(
        "Two names, two formulas: β in equal steps, or √β in equal steps and squared.",
        'config.get("beta_start", 0.0001): the file may leave out what is the default.',
        "Any other name: raise a ValueError, do not guess.",
    ),
    insight="A wrong schedule raises no error: the network is told a t whose noise it does not see, and the "
    'pictures are only somewhat bad. CompVis\' files say "linear" for what diffusers calls "scaled_linear".',
    wrong=(
        Wrong(
            "linear-of-compvis",
            config_as_in_compvis,
            'You made "linear" scaled, too. That is CompVis\' meaning of the word; in diffusers\' files "linear" '
            "is β itself.",
        ),
        Wrong(
            "names-swapped", config_swapped, 'The two names are swapped: "scaled_linear" is where √β rises linearly.'
        ),
        Wrong("should-refuse", config_anything_goes),
        Wrong(
            "cosine-made",
            config_cosine_made,
            'You accept "squaredcos_cap_v2". diffusers knows it, but this function should know only the two linear '
            "ones: raise a ValueError for any other name.",
        ),
        Wrong(
            "name-ignored",
            config_name_ignored,
            "beta_schedule is not read: β rises linearly in all of your schedules, whatever their name is.",
        ),
        Wrong(
            "always-scaled",
            config_always_scaled,
            "beta_schedule is not read: √β rises linearly in all of your schedules, whatever their name is.",
        ),
        Wrong(
            "both-linear",
            config_both_linear,
            'Both names give β in equal steps; "scaled_linear" is √β in equal steps. If you ask whether "linear" '
            'is *in* the name: it is in "scaled_linear", too. Compare with ==.',
        ),
        Wrong(
            "squared-without-roots",
            config_squared_without_roots,
            'For "scaled_linear" you squared β. Take the roots of both ends first: the steps are equal in √β, and '
            "its square is β again.",
        ),
        Wrong(
            "not-squared",
            config_not_squared,
            'For "scaled_linear" you return √β. It rises linearly, as it should; square it.',
        ),
        Wrong(
            "end-missing",
            config_end_missing,
            "Your schedule stops one step before beta_end. Both ends are included, as in torch.linspace(start, "
            "end, T).",
        ),
        Wrong("alpha-returned", config_alpha, "You return α = 1 - β. The exercise asks for β itself."),
        Wrong(
            "alpha-bar-returned",
            config_alpha_bar,
            "You return ᾱ, the product of all 1 - β so far. The exercise asks for β itself.",
        ),
        Wrong(
            "defaults-of-stable-diffusion",
            config_of_stable_diffusion,
            "Where the file leaves the ends out you took Stable Diffusion's. The *format's* defaults are 0.0001 "
            "and 0.02; a file that means others says so.",
        ),
        Wrong(
            "ends-ignored",
            config_fixed_ends,
            "beta_start and beta_end are not read: you always take Stable Diffusion's.",
        ),
        Wrong(
            "ends-as-a-pair",
            config_ends_as_a_pair,
            'Where one end is absent you take the default for both. Each has its own: config.get("beta_start", '
            "0.0001), and likewise the other.",
        ),
        Wrong(
            "one-too-many",
            config_one_too_many,
            "You return T + 1 numbers: the exercise asks for num_train_timesteps of them.",
        ),
        Wrong("falling", config_falling, "Your β fall. The first is beta_start, the last beta_end."),
        Wrong("own-T", config_thousand, "You return 1000 numbers, whatever the file says: num_train_timesteps."),
        Wrong(
            "defaults-missing",
            config_keys_required,
            "The file may leave beta_start or beta_end out: then diffusers takes 0.0001 and 0.02. config.get(…, "
            "default).",
        ),
        Wrong("rooted", config_rooted, "Those are the square roots of β."),
        Wrong(
            "linear-at-the-end",
            config_matching("scaled_linear".__eq__, lambda name: name.endswith("linear")),
            PART_OF_THE_NAME,
        ),
        Wrong(
            "scaled-at-the-end",
            config_matching(lambda name: name.endswith("scaled_linear"), "linear".__eq__),
            PART_OF_THE_NAME,
        ),
        Wrong(
            "both-at-the-end",
            config_matching(lambda name: name.endswith("scaled_linear"), lambda name: name.endswith("linear")),
            PART_OF_THE_NAME,
        ),
        Wrong(
            "both-at-the-start",
            config_matching(lambda name: name.startswith("scaled"), lambda name: name.startswith("linear")),
            PART_OF_THE_NAME,
        ),
        Wrong(
            "anywhere", config_matching(lambda name: "scaled" in name, lambda name: "linear" in name), PART_OF_THE_NAME
        ),
        Wrong(
            "linear-anywhere", config_matching("scaled_linear".__eq__, lambda name: "linear" in name), PART_OF_THE_NAME
        ),
        Wrong(
            "defaults-always",
            config_defaults,
            'You ignore "beta_start" and "beta_end". 0.0001 and 0.02 are only the defaults for a missing entry:'
            ' config.get("beta_start", 0.0001).',
        ),
        Wrong(
            "others-scaled",
            config_others_scaled,
            'You take every other name for "scaled_linear". Raise a ValueError for a name that is neither of the two.',
        ),
        Wrong(
            "none-for-unknown",
            config_none_for_unknown,
            "For an unknown name you return None. Raise a ValueError: None would only fail later, and elsewhere.",
        ),
        Wrong(
            "end-missing-if-scaled",
            config_end_missing_if_scaled,
            'For "scaled_linear" your last β is not the end: T numbers with both ends lie (end - start) / (T - 1)'
            " apart, not / T.",
        ),
        Wrong(
            "end-missing-if-linear",
            config_end_missing_if_linear,
            'For "linear" your last β is not the end: T numbers with both ends lie (end - start) / (T - 1) apart,'
            " not / T.",
        ),
    ),
    right=(config_in_parts, config_by_powers, config_by_loop),
)
