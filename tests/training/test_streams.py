"""Sources of any size: each kind gives the same pictures, in memory-mapped files, whole or refused."""

import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tinyldm.conditioning import ImageEncoder, TextEncoder
from tinyldm.data import shards
from tinyldm.data.corpus import WORDS, disk_corpus, folder_corpus, scenes_corpus
from tinyldm.data.shards import Rows, rows_per_shard, shard_file, shard_files, verify, write_shard
from tinyldm.data.streams import folder_samples, parquet_samples, prepare, tar_samples
from tinyldm.training.latents import build_cache, cache_on_disk
from tinyldm.training.run import batch_at
from tinyldm.training.tokenizer import build_tokenizer

COUNT = 10
NOT_A_PICTURE = 3  # the number of a sample that cannot be decoded


def encoded(number: int) -> bytes:
    """A PNG of 20×16 pixels; one of them is broken."""
    pixels = np.random.default_rng(number).integers(0, 255, (16, 20, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return b"not a picture" if number == NOT_A_PICTURE else file.getvalue()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("folder")
    rows = []
    for number in range(COUNT):
        (folder / f"{number:04d}.png").write_bytes(encoded(number))
        rows.append(json.dumps({"file_name": f"{number:04d}.png", "text": f"picture {number}"}))
    (folder / "metadata.jsonl").write_text("\n".join(rows))
    return folder


@pytest.fixture(scope="module")
def tars(folder, tmp_path_factory) -> list[Path]:
    """Two shards, written by the library webdataset."""
    webdataset = pytest.importorskip("webdataset")
    place = tmp_path_factory.mktemp("tars")
    with webdataset.ShardWriter(f"file:{place}/%02d.tar", maxcount=6, verbose=0) as sink:
        for number in range(COUNT):
            caption = {"txt": f"picture {number}"} if number % 2 else {"json": {"caption": f"picture {number}"}}
            sink.write({"__key__": f"{number:04d}", "png": encoded(number), **caption})
    return sorted(place.glob("*.tar"))


@pytest.fixture(scope="module")
def parquets(tmp_path_factory) -> list[Path]:
    """Two tables, written by the library datasets."""
    datasets = pytest.importorskip("datasets")
    place = tmp_path_factory.mktemp("parquets")
    for name, numbers in (("a", range(6)), ("b", range(6, COUNT))):
        images = [{"bytes": encoded(number), "path": None} for number in numbers]
        table = {"image": images, "text": [f"picture {number}" for number in numbers]}
        features = datasets.Features({"image": datasets.Image(decode=False), "text": datasets.Value("string")})
        datasets.Dataset.from_dict(table, features=features).to_parquet(place / f"{name}.parquet")
    return sorted(place.glob("*.parquet"))


def read(samples, place: Path, size: int = 16):
    return disk_corpus(prepare(samples, place, size, "test", progress=False))


@pytest.mark.parametrize("kind", ["folder", "tar", "parquet"])
def test_each_source_gives_the_pictures_of_the_folder(kind, folder, request, tmp_path):
    expected, skipped = folder_corpus(folder, 16)
    samples = {
        "folder": lambda: folder_samples(folder),
        "tar": lambda: tar_samples(request.getfixturevalue("tars")),
        "parquet": lambda: parquet_samples(request.getfixturevalue("parquets")),
    }[kind]()
    corpus, found = read(samples, tmp_path / "data")
    assert torch.equal(corpus.images[:], expected.images) and corpus.captions == expected.captions
    assert len(corpus) == COUNT - 1
    ((name, why),) = found
    assert name == {"folder": "0003.png", "tar": "00.tar 0003", "parquet": "a.parquet row 4"}[kind]
    assert why == skipped[0][1] and why.startswith("no picture in one of the formats")


def test_the_library_datasets_reads_the_same_folder(folder):
    datasets = pytest.importorskip("datasets")
    rows = datasets.load_dataset("imagefolder", data_dir=str(folder), split="train", streaming=True)
    rows = list(rows.cast_column("image", datasets.Image(decode=False)))
    ours = list(folder_samples(folder))
    assert [row["text"] for row in rows] == [sample.caption for sample in ours]
    assert [Path(row["image"]["path"]).name for row in rows] == [sample.picture.name for sample in ours]


def test_the_library_webdataset_reads_the_same_shards(tars):
    webdataset = pytest.importorskip("webdataset")
    theirs = list(webdataset.WebDataset([f"file:{file}" for file in tars], shardshuffle=False))
    ours = list(tar_samples(tars))
    assert [sample["png"] for sample in theirs] == [sample.picture for sample in ours]
    assert [sample["__key__"] for sample in theirs] == [sample.name.split()[1] for sample in ours]


def test_what_is_broken_is_counted_and_named(tmp_path):
    def add(tar, name, content):
        info = tarfile.TarInfo(name)
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))

    file = tmp_path / "x.tar"
    with tarfile.open(file, "w") as tar:
        add(tar, "README", b"not a sample")
        add(tar, "a/1.png", encoded(1))
        add(tar, "a/1.txt", b"one")
        add(tar, "a/2.png", encoded(2))
        add(tar, "a/4.txt", b"four")
        add(tar, "a/5.png", encoded(5))
        add(tar, "a/5.json", b"{")
        add(tar, "a/6.png", encoded(6)[:-40])
        add(tar, "a/6.txt", b"six")
    whole = file.read_bytes()
    cut = tmp_path / "cut.tar"
    cut.write_bytes(whole[:1300])
    corpus, skipped = read(tar_samples([file, cut]), tmp_path / "data")
    assert corpus.captions == [["one"]]
    named = dict(skipped)
    assert named["x.tar a/2"] == "no caption: neither .txt nor .json" and named["x.tar a/4"] == "no picture"
    assert named["x.tar a/5"] == "its .json is not JSON" and "x.tar a/6" in named
    assert "not a whole .tar file" in named["cut.tar"] and len(named) == 7  # both READMEs too


def test_a_source_with_nothing_usable_says_why(tmp_path):
    file = tmp_path / "x.tar"
    file.write_bytes(b"no archive at all" * 100)
    with pytest.raises(ValueError, match="nothing usable in the source: x.tar .not a whole .tar file"):
        read(tar_samples([file]), tmp_path / "data")


def test_a_table_without_pictures_is_refused(tmp_path):
    datasets = pytest.importorskip("datasets")
    datasets.Dataset.from_dict({"photo": [1], "text": ["x"]}).to_parquet(tmp_path / "x.parquet")
    with pytest.raises(ValueError, match="has the columns photo, text; expected image and text"):
        list(parquet_samples([tmp_path / "x.parquet"]))
    (tmp_path / "y.parquet").write_bytes(b"PAR1 no table PAR1")
    with pytest.raises(ValueError, match="not a Parquet file"):
        list(parquet_samples([tmp_path / "y.parquet"]))


# ── Shards ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def small_shards(monkeypatch):
    """Files of four pictures of 16×16."""
    monkeypatch.setattr(shards, "SHARD_BYTES", 4 * 3 * 16 * 16)


def test_a_preparation_goes_on_after_its_last_whole_shard(folder, tmp_path, small_shards):
    whole, skipped = read(folder_samples(folder), tmp_path / "whole")
    assert [len(facts["captions"]) for facts in whole.images.facts] == [4, 4, 1]

    def breaks_off():
        for number, sample in enumerate(folder_samples(folder)):
            if number == 7:
                raise KeyboardInterrupt
            yield sample

    with pytest.raises(KeyboardInterrupt):
        read(breaks_off(), tmp_path / "parts")
    assert len(shard_files(tmp_path / "parts")) == 1
    stamp = shard_file(tmp_path / "parts", 0).stat().st_mtime_ns
    parts, again = read(folder_samples(folder), tmp_path / "parts")
    assert shard_file(tmp_path / "parts", 0).stat().st_mtime_ns == stamp
    assert torch.equal(parts.images[:], whole.images[:]) and parts.captions == whole.captions and again == skipped

    def never():
        raise AssertionError("what is prepared is not read again")
        yield

    read(never(), tmp_path / "parts")
    with pytest.raises(ValueError, match="holds other pictures than those of"):
        prepare(never(), tmp_path / "parts", 32, "test", progress=False)


def test_rows_are_read_like_a_tensor(tmp_path):
    values = torch.randn(10, 2, 3).half()
    for number in range(3):
        write_shard(shard_file(tmp_path, number), {"x": values[4 * number : 4 * number + 4]}, {})
    rows = Rows(shard_files(tmp_path), "x")
    index = torch.tensor([9, 0, 4, 4])
    assert torch.equal(rows[index], values[index]) and torch.equal(rows[2:9:3], values[2:9:3])
    assert torch.equal(torch.cat(list(rows.split(3))), values) and rows.shape == values.shape and len(rows) == 10
    assert rows.to("cpu")[:1].dtype == torch.float16
    assert rows_per_shard(10**12) == 1


@pytest.mark.parametrize("place", ["the data", "the header", "the end"])
def test_a_damaged_shard_is_named(tmp_path, place):
    file = shard_file(tmp_path, 0)
    write_shard(file, {"x": torch.arange(1000)}, {"a": 1})
    assert verify(file)["a"] == 1
    content = bytearray(file.read_bytes())
    if place == "the end":
        content = content[:-10]
    else:
        content[-5 if place == "the data" else 20] ^= 0xFF
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"data-00000.safetensors is damaged"):
        verify(file)


# ── Latents ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def encoders():
    from test_training_stages import SMALL_VAE, TEXT, VISION

    from tinyldm.training.clip import new_clip
    from tinyldm.vae import VAE

    torch.manual_seed(0)
    clip = new_clip(TEXT, VISION)
    return VAE(SMALL_VAE), TextEncoder(clip.text, build_tokenizer(WORDS, 32)), ImageEncoder(clip.vision, 32)


def test_latents_are_computed_once_and_mended_where_damaged(tmp_path, encoders, monkeypatch):
    monkeypatch.setattr(shards, "SHARD_BYTES", 20_000)
    corpus = scenes_corpus(24)
    expected = build_cache(corpus, *encoders, "cpu", progress=False)
    cache = cache_on_disk(tmp_path, corpus, *encoders, "cpu", batch=8, progress=False)
    files = shard_files(tmp_path / "images")
    assert len(files) > 2
    for name in ("moments", "patches", "contexts"):
        torch.testing.assert_close(getattr(cache, name)[:], getattr(expected, name), atol=2e-3, rtol=2e-3)
    assert torch.equal(cache.caption, expected.caption)

    stamps = [file.stat().st_mtime_ns for file in files]
    cache_on_disk(tmp_path, corpus, *encoders, "cpu", batch=8, progress=False)
    assert [file.stat().st_mtime_ns for file in files] == stamps  # found again

    content = files[1].read_bytes()
    files[1].write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.warns(UserWarning, match="data-00001.safetensors is damaged: .*; it is written again"):
        cache_on_disk(tmp_path, corpus, *encoders, "cpu", batch=8, progress=False)
    assert files[1].read_bytes() == content
    assert [file.stat().st_mtime_ns for file in files[2:]] == stamps[2:]

    vae, text_encoder, image_encoder = encoders
    with torch.no_grad():
        vae.quant_conv.bias += 1.0
    with pytest.warns(UserWarning, match="belongs to other data or other weights"):
        other = cache_on_disk(tmp_path, corpus, vae, text_encoder, image_encoder, "cpu", batch=8, progress=False)
    assert (other.moments[:] - expected.moments).mean() == pytest.approx(1.0, abs=0.01)


def test_a_unet_trains_from_files_as_from_memory(tmp_path, encoders, folder):
    """With the parts of another model, its pictures and latents on the disk."""
    from dataclasses import replace

    from test_training_stages import plan

    from tinyldm.training.run import read_log
    from tinyldm.training.train_unet import Frozen, train_unet
    from tinyldm.versions import TINY

    vae, text_encoder, _ = encoders
    frozen = Frozen(vae, text_encoder, TINY.schedule(), None, 64)
    on_disk, _ = read(folder_samples(folder), tmp_path / "data", 64)
    in_memory, _ = folder_corpus(folder, 64)
    losses = []
    for name, corpus, cache in (("disk", on_disk, tmp_path / "latents"), ("memory", in_memory, None)):
        settings = replace(
            plan(tmp_path / name, steps=20).unet, image_context=0.0, cache=cache, recompute=cache is not None
        )
        model = train_unet(settings, corpus, frozen)
        losses += [line["loss"] for line in read_log(tmp_path / name / "unet.log.jsonl")]
    assert len(losses) == 2 and losses[0] == pytest.approx(losses[1], rel=1e-3)
    assert model.image_encoder is None


# ── 50,000 pictures under a limit that they exceed ───────────────────────────────────────────────────

LIMITED = """
import resource, sys, tarfile
from pathlib import Path
import torch
from tinyldm.data.corpus import disk_corpus
from tinyldm.data.streams import prepare, tar_samples
from tinyldm.training.run import batch_at
torch.set_num_threads(1)
place, count = Path(sys.argv[1]), int(sys.argv[2])
torch.randint(9, (9,)).sum()

def anonymous():  # bytes of memory of its own, which no file stands behind
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmData"))

limit = anonymous() + 400 * 2**20  # the pictures take 614 MB
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
try:
    torch.zeros(count, 3, 64, 64, dtype=torch.uint8)
    sys.exit("the limit does not hold")
except RuntimeError:
    pass
corpus, skipped = disk_corpus(prepare(tar_samples(sorted(place.glob("*.tar"))), place / "data", 64, "test", False))
assert len(corpus) == count - 1 and len(skipped) == 1 and "tar 12345" in skipped[0][0], skipped
seen = torch.zeros(count, dtype=torch.int64)
batch = 1000
for step in range(-(-len(corpus) // batch)):
    index = batch_at(0, step, batch, len(corpus))[: len(corpus) - step * batch]
    images = corpus.images[index]
    # Each picture says its number in its first three bytes.
    low, middle, high = images[:, :, 0, 0].long().T
    numbers = low + 256 * middle + 65536 * high
    assert [f"picture {number}" for number in numbers.tolist()] == [corpus.captions[i][0] for i in index.tolist()]
    seen[numbers] += 1
assert seen.sum() == count - 1 and seen.max() == 1 and seen[12345] == 0
print("each once")
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_DATA counts all anonymous memory on Linux alone")
def test_more_pictures_than_memory(tmp_path):
    """50,000 pictures of 64×64, 614 MB, are prepared and read once each with 400 MB."""
    count, rng = 50_000, np.random.default_rng(0)
    noise = rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)
    for shard in range(5):
        with tarfile.open(tmp_path / f"{shard}.tar", "w") as tar:
            for number in range(shard * count // 5, (shard + 1) * count // 5):
                noise[0, 0] = number & 255, number >> 8 & 255, number >> 16
                picture = b"P6 64 64 255\n" + noise.tobytes()
                content = {"ppm": picture[:99] if number == 12345 else picture, "txt": b"picture %d" % number}
                for ending, data in content.items():
                    info = tarfile.TarInfo(f"{number}.{ending}")
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
    child = [sys.executable, "-c", LIMITED, str(tmp_path), str(count)]
    result = subprocess.run(child, capture_output=True, text=True)
    assert result.returncode == 0 and result.stdout == "each once\n", result.stderr[-2000:]


def test_a_run_goes_on_in_the_middle_of_an_epoch(folder, tmp_path):
    """The order follows from seed and step, so that step 5 of epoch 0 needs nothing of the steps before it."""
    corpus, _ = read(folder_samples(folder), tmp_path / "data")
    order = torch.cat([batch_at(3, step, 2, len(corpus)) for step in range(9)])
    assert torch.equal(batch_at(3, 4, 2, len(corpus)), order[8:10])
    assert sorted(order[:9].tolist()) == list(range(9)) == sorted(order[9:].tolist())
