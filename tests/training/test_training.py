"""What the training loops share: tokenizer, batches, averages, checkpoints; and each formula of a loss."""

import json
import math
import os
import signal
import subprocess
import sys
import warnings
from collections import Counter

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import nn

from tinyldm.conditioning import tokenize
from tinyldm.data import scenes
from tinyldm.data.captions import VOCABULARY, words_of
from tinyldm.data.corpus import WORDS, digits_corpus, scenes_corpus
from tinyldm.data.description import EMPTY
from tinyldm.data.pixels import to_signed_float
from tinyldm.formats.tokenizers import save_tokenizer
from tinyldm.training.checkpoints import load_checkpoint, read_facts, save_checkpoint
from tinyldm.training.clip import pad_tokens
from tinyldm.training.resuming import reserved, say_other_runs, say_other_settings
from tinyldm.training.run import MovingAverage, Run, Settings, Stopped, adamw, batch_at, generator_at, read_log
from tinyldm.training.tokenizer import WORD_END, build_tokenizer, join, learn_merges
from tinyldm.training.train_clip import contrastive_losses, describing_loss, hard_negatives, shortened, tokenized
from tinyldm.training.train_vae import (
    PatchDiscriminator,
    adaptive_weight,
    discriminator_loss,
    edge_distance,
    half_size_distance,
)


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer(WORDS, 32)


# ── Tokenizer ────────────────────────────────────────────────────────────────────────────────────────


def test_every_word_of_the_world_is_one_token(tokenizer):
    for word in WORDS:
        assert tokenizer.pieces(word) == [f"{word}</w>"]


def test_merges_are_those_of_counting_everything_again():
    """Sennrich et al.'s algorithm 1 as it is written: all pairs of all words are counted before each merge."""

    def plain(words):
        spelled, found = [[*word[:-1], word[-1] + WORD_END] for word in words], []
        while counts := Counter(pair for pieces in spelled for pair in zip(pieces, pieces[1:])):
            found.append(min(counts, key=lambda pair: (-counts[pair], pair)))
            spelled = [join(pieces, found[-1]) for pieces in spelled]
        return found

    rng = np.random.default_rng(0)
    for _ in range(100):
        words = ["".join(rng.choice(list("aab"), rng.integers(1, 9))) for _ in range(rng.integers(1, 12))]
        assert learn_merges(words) == plain(words), words


def test_unknown_words_are_spelled_and_come_back(tokenizer):
    text = "a zebra on grey"
    numbers, strange = tokenizer.numbers([text, "naïve 中 🙂"])
    assert tokenizer.text(numbers) == text
    assert tokenizer.end not in numbers + strange  # it also stands for what is unknown; but bytes spell every script


def test_start_end_and_padding_are_what_tiny_says(tokenizer):
    from tinyldm.versions import TINY

    config = TINY.text[0]
    (ids,) = tokenize(tokenizer, ["red"], 6).tolist()
    assert ids[0] == config.vocab_size - 2 and ids[2:] == [config.vocab_size - 1] * 4
    assert tokenizer.bpe.get_vocab_size() == config.vocab_size <= 1024
    assert tokenizer.pad == config.pad_token_id and tokenizer.length == 32


def test_every_caption_fits(tokenizer):
    captions = [caption.text for caption in scenes.batch(5, range(500))[1]]
    assert max(len(pieces) for pieces in tokenizer.numbers(captions)) <= 30


def test_a_saved_tokenizer_opens_again(tokenizer, tmp_path):
    from transformers import CLIPTokenizer

    save_tokenizer(tokenizer, tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert {"vocab.json", "merges.txt", "tokenizer.json", "tokenizer_config.json"} <= names
    again = CLIPTokenizer.from_pretrained(tmp_path)
    for text in ("a small red circle above a zebra", ""):
        assert again(text)["input_ids"][1:-1] == tokenizer.numbers([text])[0]
    vocabulary = json.loads((tmp_path / "vocab.json").read_text())
    from_files = CLIPTokenizer(
        vocab=vocabulary,
        merges=[tuple(line.split(" ")) for line in (tmp_path / "merges.txt").read_text().splitlines()[1:]],
    )
    text = "a small red circle above a zebra"
    assert from_files(text)["input_ids"][1:-1] == tokenizer.numbers([text])[0]


def test_merges_of_a_tiny_language():
    # "l" "o</w>" occurs twice, so it is joined first; the rest is a tie, which the alphabet breaks.
    assert learn_merges(["lo", "hello", "he"]) == [
        ("l", "o</w>"),
        ("e", "l"),
        ("el", "lo</w>"),
        ("h", "e</w>"),
        ("h", "ello</w>"),
    ]


# ── Batches, randomness, averages ────────────────────────────────────────────────────────────────────


def test_each_epoch_takes_each_example_once():
    seen = torch.cat([batch_at(0, step, 10, 25) for step in range(5)])
    assert sorted(seen[:25].tolist()) == list(range(25)) == sorted(seen[25:].tolist())
    assert seen[:25].tolist() != seen[25:].tolist()
    assert len(batch_at(0, 3, 10, 4)) == 10  # a data set smaller than a batch


def test_a_step_draws_the_same_numbers_whenever_it_is_done():
    assert torch.equal(torch.randn(5, generator=generator_at(1, 7)), torch.randn(5, generator=generator_at(1, 7)))
    assert not torch.equal(torch.randn(5, generator=generator_at(1, 7)), torch.randn(5, generator=generator_at(1, 8)))


def test_moving_average_closed_form():
    """Weights that jump from 0 to 1: after n steps of constant decay d the average is 1 - dⁿ."""
    module = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(module.weight)
    average = MovingAverage(module, decay=0.9)
    nn.init.ones_(module.weight)
    for _ in range(20):
        average.update(module, step=10**6)
    assert average.module.weight.item() == pytest.approx(1 - 0.9**20, rel=1e-5)


def test_moving_average_forgets_its_start():
    module = nn.Linear(1, 1, bias=False)
    average = MovingAverage(module, decay=0.9999)
    nn.init.ones_(module.weight)
    kept = 1.0
    start = average.module.weight.item()
    for step in range(30):
        average.update(module, step)
        kept *= (1 + step) / (10 + step)
    assert average.module.weight.item() == pytest.approx(1 + kept * (start - 1), abs=1e-5)
    assert kept < 1e-6


def test_learning_rate_warms_up_and_decays():
    run = Run("x", Settings(steps=100, warmup=10), {}, {})
    factors = []
    for run.step in range(101):
        factors.append(run.lr_factor())
    assert factors[0] == pytest.approx(0.1) and max(factors) > 0.95 and factors[100] == pytest.approx(0)


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"steps": 0},
        {"steps": 5, "batch": -1},
        {"minutes": -2.0},
        {"minutes": math.nan},
        {"steps": 1, "lr": math.inf},
        {"steps": 1, "seed": -1},
        {"steps": 1, "seed": 20_250_101_123},
    ],
)
def test_settings_refuse_nonsense(wrong):
    with pytest.raises(ValueError, match="expected"):
        Settings(**wrong)


# ── The corpus ───────────────────────────────────────────────────────────────────────────────────────


def test_the_corpus_is_the_world(tokenizer):
    corpus = scenes_corpus(40, seed=3)
    images, _, _ = scenes.batch(3, range(40))
    assert torch.equal(corpus.images, torch.from_numpy(images).permute(0, 3, 1, 2))
    assert corpus.captions == scenes_corpus(40, seed=3).captions
    assert to_signed_float(corpus.images).aminmax().min >= -1


def test_hard_negatives_differ_from_their_caption(tokenizer):
    corpus = scenes_corpus(60, seed=1)
    words = tokenized(corpus, tokenizer, 32, "cpu")
    chosen = torch.arange(120)
    other, owner, slot = hard_negatives(words, chosen)
    assert len(other) == sum(len(group) for wordings in corpus.negatives for group in wordings) > 50
    assert (other != words.tokens[chosen[owner]].long()).any(1).all()
    for negative, caption in zip(other, owner):
        # The same words in another order, if neither "to its left" nor an article changes with the order.
        flat = [c for wordings in corpus.captions for c in wordings]
        assert negative.tolist() != tokenize(tokenizer, [flat[caption]], 32)[0].tolist()
    assert all(slot[owner == c].tolist() == list(range(int((owner == c).sum()))) for c in owner.unique())


def test_captions_of_known_words_only():
    corpus = scenes_corpus(50)
    said = {word for wordings in corpus.captions for caption in wordings for word in words_of(caption)}
    assert said <= set(VOCABULARY)


def test_digits_are_a_corpus_too(tokenizer):
    corpus = digits_corpus(64)
    words = tokenized(corpus, tokenizer, 32, "cpu")
    assert len(corpus) == 1797 and len(hard_negatives(words, torch.arange(10))[0]) == 0


# ── Losses ───────────────────────────────────────────────────────────────────────────────────────────


def test_contrastive_loss_by_hand():
    similarity = torch.zeros(4, 4)
    hard = torch.full((4, 4), float("-inf"))
    hard[0, :2] = 0.0
    contrastive, binding = contrastive_losses(similarity, hard)
    to_text = (torch.tensor(6.0).log() + 3 * torch.tensor(4.0).log()) / 4  # the first has two more to choose from
    assert contrastive.item() == pytest.approx(((to_text + torch.tensor(4.0).log()) / 2).item())
    assert binding.item() == pytest.approx(torch.tensor(3.0).log().item())  # only the first has hard negatives


def test_contrastive_loss_without_any_hard_negatives():
    _, binding = contrastive_losses(torch.eye(3), torch.full((3, 4), float("-inf")))
    assert binding.item() == 0


def test_describing_loss_counts_only_what_is_known():
    fields = (torch.tensor([[0.0, 0.0], [3.0, -2.0]]), torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]]))
    facts = torch.tensor([[0, EMPTY], [EMPTY, 2]])
    # One even choice of two, one of three; the other two fields are not known.
    assert describing_loss(fields, facts).item() == pytest.approx((math.log(2) + math.log(3)) / 2)
    assert describing_loss(fields, torch.full((2, 2), EMPTY)).item() == 0


def test_shortened_keeps_one_end_token():
    tokens = torch.tensor([[5, 1, 9, 9, 9], [5, 1, 2, 9, 9]])
    assert torch.equal(shortened(tokens, end=9), tokens[:, :4])


def test_edge_distance_sees_no_constant_shift():
    image = torch.rand(2, 3, 8, 8)
    assert edge_distance(image + 0.3, image).item() == pytest.approx(0, abs=1e-6)
    step = torch.zeros(1, 1, 2, 4)
    step[..., 2:] = 1.0
    assert edge_distance(step, torch.zeros_like(step)).item() == pytest.approx(1 / 3)


class Doubler:
    """Decodes a latent to the same picture at twice the size."""

    def decode(self, z0):
        return F.interpolate(z0, scale_factor=2.0)


def test_half_size_distance_is_zero_where_the_latent_is_the_picture_made_smaller():
    """Of a latent at half the size, only the half-size picture is asked: a shift by c costs |c| + c²."""
    original = F.interpolate(torch.rand(2, 3, 4, 4), scale_factor=4.0)
    z0 = F.avg_pool2d(original, 2)
    assert half_size_distance(Doubler(), z0, original).item() == pytest.approx(0, abs=1e-6)
    assert half_size_distance(Doubler(), z0 + 0.5, original).item() == pytest.approx(0.75, abs=1e-6)
    scrambled = z0.flip(-1)  # the same numbers at other places
    assert half_size_distance(Doubler(), scrambled, original).item() > 0.05


def test_adaptive_weight_is_the_ratio_of_gradients():
    last = nn.Parameter(torch.tensor([3.0, 4.0]))
    reconstruction, adversarial = 2 * (last * torch.tensor([3.0, 4.0])).sum(), last.sum()
    weight = adaptive_weight(reconstruction, adversarial, last)
    assert weight.item() == pytest.approx(10 / (2**0.5 + 1e-4), rel=1e-5) and not weight.requires_grad
    assert adaptive_weight(1e9 * last.sum(), 0 * last.sum(), last).item() == 1e4  # the cap


def test_discriminator():
    assert PatchDiscriminator()(torch.zeros(2, 3, 64, 64)).shape == (2, 1, 16, 16)
    assert discriminator_loss(torch.tensor([2.0]), torch.tensor([-2.0])).item() == 0
    assert discriminator_loss(torch.tensor([0.0]), torch.tensor([0.0])).item() == 1


# ── Checkpoints ──────────────────────────────────────────────────────────────────────────────────────


def little_run(out, steps, **settings):
    """A loop as small as can be: one linear layer learns a random line."""
    torch.manual_seed(0)
    model = nn.Linear(3, 1)
    optimizer = adamw(model.parameters(), 0.1)
    with Run(
        "little",
        Settings(out=out, steps=steps, warmup=1, progress=False, **settings),
        {"model": model},
        {"optimizer": optimizer},
    ) as run:
        for step in run.steps():
            x = torch.randn(8, 3, generator=generator_at(0, step))
            loss = (model(x) - x.sum(1, keepdim=True)).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            run.log(loss=loss)
            yield run, model


def finish(steps):
    *_, (_, model) = steps
    return model


def test_ctrl_c_saves_and_says_how_to_go_on(tmp_path):
    handler = signal.getsignal(signal.SIGINT)
    whole = finish(little_run(tmp_path / "whole", 60))
    with pytest.raises(Stopped, match="--resume"):
        for run, _ in little_run(tmp_path / "cut", 60):
            if run.step == 25:
                os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is handler
    resumed = finish(little_run(tmp_path / "cut", 60, resume=True))
    assert torch.equal(whole.weight, resumed.weight)
    logs = [read_log(tmp_path / name / "little.log.jsonl") for name in ("whole", "cut")]
    assert [line["step"] for line in logs[0]] == [line["step"] for line in logs[1]] == [20, 40, 60]


def test_a_checkpoint_of_another_shape_is_refused(tmp_path):
    path = tmp_path / "a.safetensors"
    save_checkpoint(path, {"model": nn.Linear(2, 2)}, {}, {"step": 1})
    with pytest.raises(ValueError, match="does not fit"):
        load_checkpoint(path, {"model": nn.Linear(3, 2)}, {})
    path.write_bytes(b"garbage")
    with pytest.raises(ValueError, match="damaged"):
        load_checkpoint(path, {"model": nn.Linear(2, 2)}, {})
    with pytest.raises(ValueError, match="no checkpoint"):
        read_facts(tmp_path / "b.safetensors")


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from safetensors.torch import save_file
from torch import nn
from tinyldm.training.checkpoints import save_checkpoint
path = Path(sys.argv[1])
save_checkpoint(path, {"model": nn.Linear(64, 64)}, {}, {"step": 1})
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))   # from here on the disk is full after 4 KB
try:
    save_checkpoint(path, {"model": nn.Linear(64, 64)}, {}, {"step": 2})
except OSError as error:
    sys.exit(str(error))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs RLIMIT_FSIZE")
def test_a_full_disk_leaves_the_last_checkpoint_whole(tmp_path):
    path = tmp_path / "model.checkpoint.safetensors"
    result = subprocess.run([sys.executable, "-c", FULL_DISK, str(path)], capture_output=True, text=True)
    assert result.returncode == 1 and "--resume" in result.stderr and len(result.stderr.strip().splitlines()) == 1
    assert load_checkpoint(path, {"model": nn.Linear(64, 64)}, {})["step"] == 1
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_full_small_disk_leaves_the_last_checkpoint_whole(tmp_path):
    """The same on a real, full file system, where the machine lets us mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)]
    if sys.platform != "linux" or os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a tmpfs takes root")
    try:
        path = disk / "model.checkpoint.safetensors"
        save_checkpoint(path, {"model": nn.Linear(180, 200)}, {}, {"step": 1})  # 145 KB
        with pytest.raises(OSError, match="free some space"):
            save_checkpoint(path, {"model": nn.Linear(180, 200)}, {}, {"step": 2})
        assert load_checkpoint(path, {"model": nn.Linear(180, 200)}, {})["step"] == 1
        assert [p.name for p in disk.iterdir()] == [path.name]
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize(
    "rest",
    [
        b'{"step": 40, "seconds": 0.4, "',
        b"\x00" * 4096,
        b"\xff\xfe",
        b"[" * 10**5,
        b"3\n",
        b'{"step": "x"}',
        b'{"a": 1}\n',
    ],
    ids=range(7),
)
def test_half_a_line_of_the_log_does_not_stop_a_resumed_run(tmp_path, rest):
    """Handed over: a full disk or a kill leaves it, and the checkpoint is whole."""
    whole = finish(little_run(tmp_path / "whole", 60))
    with pytest.raises(Stopped):
        for run, _ in little_run(tmp_path / "cut", 60):
            if run.step == 25:
                os.kill(os.getpid(), signal.SIGINT)
    log = tmp_path / "cut" / "little.log.jsonl"
    log.write_bytes(log.read_bytes() + rest)
    assert torch.equal(whole.weight, finish(little_run(tmp_path / "cut", 60, resume=True)).weight)
    assert [line["step"] for line in read_log(log)] == [20, 40, 60]
    assert log.read_bytes().count(b"\n") == 3
    log.unlink()
    finish(little_run(tmp_path / "cut", 80, resume=True))


def test_a_resumed_run_says_what_has_changed(tmp_path):
    finish(little_run(tmp_path, 5))
    with pytest.warns(
        UserWarning, match="little goes on from step 5 with other settings .*: batch 64 → 32, seed 0 → 3"
    ):
        finish(little_run(tmp_path, 10, resume=True, batch=32, seed=3, save_seconds=9.0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        finish(little_run(tmp_path, 15, resume=True, batch=32, seed=3, minutes=5.0))  # when it ends is no setting
    with pytest.warns(UserWarning, match="from step 5 .*: lr 0.1 → 0.2, images 1,000 → 9$"):
        say_other_settings("x", {"step": 5, "settings": {"lr": 0.1}, "images": 1000}, {"lr": 0.2, "new": 3}, 9)


def test_two_runs_in_one_folder_are_told_apart(tmp_path):
    with pytest.warns(
        UserWarning, match="stages of another run: clip was trained on 60,000 images, and this one has 9;"
    ):
        say_other_runs(tmp_path, 9, {"clip": {"images": 60_000}, "vae": {"images": 9}, "old": {}})
    with reserved(tmp_path):
        with pytest.raises(ValueError, match="another training is writing to .*--out"):
            with reserved(tmp_path):  # in this process, too, a second lock of the file is another one
                pass
    with reserved(tmp_path):
        pass


def test_processes_of_one_training_share_its_folder(tmp_path, monkeypatch):
    with reserved(tmp_path):
        monkeypatch.setenv("RANK", "1")
        with reserved(tmp_path):
            pass


@pytest.mark.parametrize(
    "facts",
    [
        "",
        "3",
        "[]",
        "{",
        "[" * 10**5,
        '{"step": -1}',
        '{"step": "5"}',
        '{"step": 1.5}',
        '{"step": NaN}',
        '{"settings": 3}',
    ],
)
def test_odd_facts_of_a_checkpoint_are_damage(tmp_path, facts):
    save_file({"a": torch.ones(1)}, tmp_path / "x.safetensors", {"facts": facts})
    with pytest.raises(ValueError, match="x.safetensors is damaged or no checkpoint"):
        read_facts(tmp_path / "x.safetensors")


def test_a_fact_that_is_lacking_is_named(tmp_path):
    save_file({"a": torch.ones(1)}, tmp_path / "x.safetensors", {"facts": "{}"})
    with pytest.raises(ValueError, match="x.safetensors does not say 'step'"):
        read_facts(tmp_path / "x.safetensors")["step"]


@pytest.mark.parametrize(
    "name, value",
    [
        ("o/0", torch.ones(2, 3)),
        ("o/x/exp_avg", torch.ones(2, 3)),
        ("o/-1/exp_avg", torch.ones(2, 3)),
        ("o/9/exp_avg", torch.ones(2, 3)),
        ("o/²/exp_avg", torch.ones(2, 3)),
        ("o/0/other", torch.ones(2, 3)),
        ("o/0/exp_avg", torch.ones(9)),
        ("o/0/exp_avg", torch.ones(2, 3, dtype=torch.int64)),
        ("o/0/exp_avg", None),
    ],
    ids=lambda value: str(value)[:20],
)
def test_odd_keys_of_a_checkpoint_are_named(tmp_path, name, value):
    model, path = nn.Linear(3, 2), tmp_path / "x.safetensors"
    optimizer = adamw(model.parameters(), 1e-3)
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    save_checkpoint(path, {"m": model}, {"o": optimizer}, {"step": 1})
    load_checkpoint(path, {"m": model}, {"o": optimizer})
    tensors = {key: tensor for key, tensor in load_file(path).items() if key != name}
    save_file(tensors if value is None else tensors | {name: value}, path, {"facts": '{"step": 1}'})
    with pytest.raises(ValueError, match="x.safetensors does not fit: o/.*--overwrite"):
        load_checkpoint(path, {"m": model}, {"o": optimizer})


def test_a_loss_that_is_not_a_number_ends_the_run(tmp_path):
    with pytest.raises(
        FloatingPointError, match="loss of x is nan after 20 steps, .*learning rate.*no earlier checkpoint"
    ):
        with Run("x", Settings(out=tmp_path, steps=50, progress=False), {}, {}) as run:
            for _ in run.steps():
                run.log(loss=torch.tensor(float("nan")))
    assert not list(tmp_path.glob("*.checkpoint.*"))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("what", ["weight", "buffer", "moment"])
def test_a_checkpoint_is_finite_or_not_written(tmp_path, what, value):
    """Case 05: whatever is not finite, the last good checkpoint stays, and the message names it."""
    path = tmp_path / "x.checkpoint.safetensors"
    module = nn.BatchNorm1d(2)
    optimizer = adamw(module.parameters(), 1e-3)
    module(torch.randn(4, 2)).sum().backward()
    optimizer.step()
    tensor = {
        "weight": module.weight.data,
        "buffer": module.running_mean,
        "moment": optimizer.state[module.weight]["exp_avg"],
    }[what]
    good = tensor[0].item()
    tensor[0] = value
    with pytest.raises(
        FloatingPointError, match="NaN or infinity.*no earlier checkpoint: start again with a lower --lr"
    ):
        save_checkpoint(path, {"m": module}, {"o": optimizer}, {"step": 1})
    assert not path.exists()
    tensor[0] = good
    save_checkpoint(path, {"m": module}, {"o": optimizer}, {"step": 2})
    content = path.read_bytes()
    tensor[0] = value
    with pytest.raises(FloatingPointError, match=r"x\.checkpoint\.safetensors, of step 2: --resume with a lower --lr"):
        save_checkpoint(path, {"m": module}, {"o": optimizer}, {"step": 3})
    assert path.read_bytes() == content and [file.name for file in tmp_path.iterdir()] == [path.name]


def test_weights_that_blow_up_in_the_last_step_are_not_saved(tmp_path):
    """The loss of the last step is finite: only the weights show it. Then training goes on from the last checkpoint."""

    def train(**settings):
        for run, model in little_run(tmp_path, 30, save_seconds=0.0, **settings):
            if run.step == 29 and not settings:
                model.weight.data[0, 0] = float("nan")

    with pytest.raises(FloatingPointError, match="of step 29: --resume"):
        train()
    train(resume=True)
    assert read_facts(tmp_path / "little.checkpoint.safetensors")["step"] == 30


def test_a_checkpoint_that_is_not_finite_is_not_resumed(tmp_path):
    path = tmp_path / "x.safetensors"
    save_file({"m/weight": torch.full((1, 3), float("nan")), "m/bias": torch.zeros(1)}, path, {"facts": "{}"})
    with pytest.raises(ValueError, match="NaN or infinity.*--overwrite"):
        load_checkpoint(path, {"m": nn.Linear(3, 1)}, {})


def test_a_run_is_not_replaced_unless_asked(tmp_path):
    finish(little_run(tmp_path, 5))
    with pytest.raises(ValueError, match="--resume.*--overwrite"):
        finish(little_run(tmp_path, 5))
    assert read_facts(tmp_path / "little.checkpoint.safetensors")["step"] == 5
    finish(little_run(tmp_path, 3, overwrite=True))
    assert read_facts(tmp_path / "little.checkpoint.safetensors")["step"] == 3
    assert [line["step"] for line in read_log(tmp_path / "little.log.jsonl")] == [3]


def test_an_overwritten_run_that_blows_up_does_not_point_to_the_old_one(tmp_path):
    finish(little_run(tmp_path, 5))
    with pytest.raises(FloatingPointError, match="no earlier checkpoint"):
        with Run("little", Settings(out=tmp_path, steps=50, progress=False, overwrite=True), {}, {}) as run:
            for _ in run.steps():
                run.log(loss=torch.tensor(float("inf")))


def test_captions_that_are_cut_are_counted_and_one_is_shown(tokenizer):
    captions = ["a red circle", "red " * 31 + "zebra", "a blue star", "blue " * 32]
    with pytest.warns(
        UserWarning, match=r"2 of 4 captions are too long, and only their first 30 .* cut off: 'red zebra'"
    ):
        tokens = pad_tokens(tokenizer, captions, 32)
    with pytest.warns(UserWarning, match="only the first 30 pieces"):
        assert torch.equal(tokens, tokenize(tokenizer, captions, 32))


def test_settings_refuse_contradictions():
    with pytest.raises(ValueError, match="both resume and overwrite"):
        Settings(steps=1, resume=True, overwrite=True)


def test_out_of_memory_says_what_to_lower(tmp_path):
    with pytest.raises(MemoryError, match="lower the batch"):
        with Run("x", Settings(out=tmp_path, steps=5, progress=False), {}, {}) as run:
            for _ in run.steps():
                raise torch.OutOfMemoryError("CUDA out of memory")
