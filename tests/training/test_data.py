"""The data is exact: what a scene says is what its picture shows, and the same on every machine."""

import hashlib
import json
import time

import numpy as np
import pytest
import torch
from PIL import Image

from tinyldm.data import captions, description, digits, folder, scenes, world
from tinyldm.evaluation.near_misses import near_miss, soften

COUNT = 3000


@pytest.fixture(scope="module")
def many():
    """Images (COUNT, 64, 64, 3), captions and scenes of the training split."""
    return scenes.batch(11, range(COUNT))


# ---------------------------------------------------------------- determinism


def test_random_access_equals_sequential():
    images, told, shown = scenes.batch(5, range(40))
    for index in (39, 0, 17, 17):
        image, caption, scene = scenes.batch(5, [index])
        assert np.array_equal(image[0], images[index])
        assert (caption[0], scene[0]) == (told[index], shown[index])
        assert scenes.scene_at(5, index) == shown[index]


def test_golden():
    """The world is part of the published results: whoever changes it must train everything again."""
    images, told, shown = scenes.batch(0, range(64))
    text = repr(shown) + repr([caption.text for caption in told])
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "95510c65ca026c1e"
    assert hashlib.sha256(images.tobytes()).hexdigest()[:16] == "e075e79418e62edc"


def test_seeds_and_indices_differ():
    images = np.concatenate([scenes.batch(seed, range(200))[0] for seed in (0, 1)])
    assert len({image.tobytes() for image in images}) == 400


def test_huge_index_and_bad_index():
    assert scenes.batch(0, [2**40])[0].shape == (1, 64, 64, 3)
    with pytest.raises(ValueError, match="negative"):
        scenes.scene_at(0, -1)


def test_at_least_a_thousand_images_a_second():
    scenes.batch(0, range(64))
    best = 0.0
    for _ in range(5):  # the best of five: other processes share the machine
        start = time.process_time()
        scenes.batch(0, range(128))
        best = max(best, 128 / (time.process_time() - start))
    assert best >= 1000, f"{best:.0f} images a second"


# ---------------------------------------------------------------- pictures


def test_world_is_large_enough(many):
    _, _, shown = many
    assert len(world.COLOURS) >= 8 and len(world.SHAPES) == 6 and len(world.BACKGROUNDS) >= 4
    things = [thing for scene in shown for thing in scene.things]
    assert {thing.colour for thing in things} == set(world.COLOURS)
    assert {thing.shape for thing in things} == set(world.SHAPES)
    assert {thing.size for thing in things} == set(world.SIZES)
    assert {scene.background for scene in shown} == set(world.BACKGROUNDS)
    assert {scene.relation for scene in shown} == {None, *world.RELATIONS}
    assert 0.4 < np.mean([len(scene.things) == 2 for scene in shown]) < 0.6


def test_things_are_whole_apart_and_related(many):
    for scene in many[2]:
        for thing in scene.things:
            assert min(thing.x, thing.y, 64 - thing.x, 64 - thing.y) >= thing.radius + 1.4
            low, high = world.SIZES[thing.size]
            assert low <= thing.radius <= high
        if scene.relation is None:
            continue
        a, b = scene.canonical().things
        along, across = b.x - a.x, b.y - a.y
        if scene.relation in ("above", "below"):
            along, across = across, along
        assert along - a.radius - b.radius >= 2.4  # never touching
        assert abs(across) < 0.5 * along  # never a diagonal
        assert a.colour != b.colour
        first, second = scene.things
        assert {
            "left of": first.x < second.x,
            "right of": first.x > second.x,
            "above": first.y < second.y,
            "below": first.y > second.y,
        }[scene.relation]


def test_colour_of_a_thing_is_at_its_centre(many):
    """For a ring on its band, while its centre shows the background."""
    images, _, shown = many
    for image, scene in zip(images[:1000].astype(int), shown):
        for thing in scene.things:
            x, y = int(thing.x), int(thing.y)
            if thing.shape == "ring":
                assert np.abs(image[y, x] - world.COLOURS[thing.colour]).max() > 25
                x = int(thing.x + 0.76 * thing.radius)
            assert np.abs(image[y, x] - world.COLOURS[thing.colour]).max() <= 6


def test_background_is_between_its_two_colours(many):
    images, _, shown = many
    for image, scene in zip(images[:500].astype(float), shown):
        light, dark = np.array(world.BACKGROUNDS[scene.background], dtype=float)
        corners = image[[0, 0, -1, -1], [0, -1, 0, -1]]
        assert (corners <= light + 1).all() and (corners >= dark - 1).all()


@pytest.mark.parametrize("shape", world.SHAPES)
def test_shape_fills_its_box_with_the_right_area(shape):
    """The area by counting fine pixels equals the area by geometry, and the box from -r to r is filled."""
    r = 16.0
    fine = (np.arange(-340, 340) + 0.5) / 20
    inside = scenes.DISTANCE[shape](fine[None, :], fine[:, None], r) < 0
    outer, inner = 1.05 * r, 0.45 * r
    area = {
        "circle": np.pi * r**2,
        "square": (2 * 0.88 * r) ** 2,
        "triangle": r * 1.8 * r,
        "star": 5 * outer * inner * np.sin(np.pi / 5),
        "cross": 4 * 0.68 * r * r - (0.68 * r) ** 2,
        "ring": np.pi * (r**2 - (0.52 * r) ** 2),
    }[shape]
    assert inside.sum() / 400 == pytest.approx(area, rel=0.01)
    rows, columns = np.nonzero(inside)
    for low, high in ((fine[rows.min()], fine[rows.max()]), (fine[columns.min()], fine[columns.max()])):
        assert low == pytest.approx(-high, abs=0.1)  # centred
        assert 0.87 * r <= high <= r + 0.1


def test_edges_are_anti_aliased():
    """Moving a circle by a quarter of a pixel moves its centre of gravity by as much."""

    def centre(x):
        thing = world.Thing("red", "circle", "small", x, 32.0, 10.0)
        image = scenes.paint(np.zeros((1, 64, 64, 3), np.float32), [thing], scenes.circle_distance)[0, ..., 0]
        return (image.sum(0) * (np.arange(64) + 0.5)).sum() / image.sum()

    for x in (30.0, 30.25, 30.5, 30.9):
        assert centre(x) == pytest.approx(x, abs=0.02)


# ---------------------------------------------------------------- splits


def test_held_out_never_in_training(many):
    for scene in many[2]:
        assert not world.is_held_out(scene)
        assert not {(thing.colour, thing.shape) for thing in scene.things} & world.HELD_OUT_PAIRS
        told = [thing.shape for thing in scene.things]
        assert (told, scene.relation) not in ((["ring", "triangle"], "above"), (["triangle", "ring"], "below"))


def test_held_out_split_contains_every_combination():
    shown = scenes.batch(1, range(1500), held_out=True)[2]
    assert all(world.is_held_out(scene) for scene in shown)
    pairs = {(thing.colour, thing.shape) for scene in shown for thing in scene.things}
    assert pairs >= world.HELD_OUT_PAIRS
    shapes = {(scene.things[0].shape, scene.relation, scene.things[-1].shape) for scene in shown}
    assert {("ring", "above", "triangle"), ("triangle", "below", "ring")} <= shapes


def test_every_held_out_word_is_known_from_training(many):
    things = {(thing.colour, thing.shape) for scene in many[2] for thing in scene.things}
    for colour, shape in world.HELD_OUT_PAIRS:
        assert {c for c, s in things if s == shape} and {s for c, s in things if c == colour}


# ---------------------------------------------------------------- captions


def test_vocabulary_is_exactly_what_is_said():
    said = set()
    for held_out in (False, True):
        for index in range(4000):
            rng = np.random.default_rng(index)
            said |= set(captions.words_of(captions.random_wording(rng).say(scenes.scene_at(2, index, held_out)).text))
    assert said == set(captions.VOCABULARY)


def test_unknown_words():
    assert captions.unknown_words("A red Circle above a blue square, on gray") == []
    assert captions.unknown_words("a red dragon above a Dragon's cave") == ["dragon", "s", "cave"]


def test_unknown_words_of_any_language():
    assert captions.unknown_words("über café") == ["über", "café"]
    assert captions.unknown_words("a cafe\u0301, 3 red circles") == ["café", "3", "circles"]  # composed
    assert captions.unknown_words("ein roter Kreis; красный круг; हिन्दी") == [
        "ein", "roter", "kreis", "красный", "круг", "हिन्दी",
    ]  # fmt: skip


def test_caption_says_the_names_it_states_and_no_others(many):
    """Every name's synonyms are looked up in the text: the parser that the library does without."""

    def says(text, name):
        return any(f" {word} " in f" {text} " for word in captions.SYNONYMS[name])

    for caption, scene in zip(many[1], many[2]):
        text = caption.text.replace(",", "")
        for kind, table in (("shape", world.SHAPES), ("size", world.SIZES)):
            stated = {
                getattr(thing, kind)
                for place, thing in enumerate(scene.things, 1)
                if f"{kind} {place}" in caption.stated
            }
            assert {name for name in table if says(text, name)} == stated, caption
        assert ("relation" in caption.stated) == any(
            phrase in text for phrase in ("left", "right", "above", "over", "below", "under", "beneath")
        )
        if "background" not in caption.stated:
            colours = {
                thing.colour for place, thing in enumerate(scene.things, 1) if f"colour {place}" in caption.stated
            }
            assert {name for name in world.COLOURS if says(text, name)} == colours


def test_short_and_plain_and_full_captions_all_occur():
    texts = set()
    for index in range(20_000):
        rng = np.random.default_rng(index)
        texts.add(captions.random_wording(rng).say(_scene("red", "circle", "blue", "square", "above")).text)
        texts.add(captions.random_wording(rng).say(_scene("red", "circle")).text)
    assert {
        "a red circle",
        "red circle",
        "a circle",
        "a small red circle",
        "a red circle on a green background",
        "red circle above blue square",
        "a red circle over a blue square",
        "a red circle and a blue square",
        "a blue square with a red circle above it",
        "a small red circle above a large blue square",
        "a small red circle above a large blue square on a green background",
    } <= texts
    assert len(texts) > 1000


def _scene(*names):
    """A scene for captions: (colour, shape) or (colour, shape, colour, shape, relation)."""
    things = (world.Thing(names[0], names[1], "small", 20.0, 20.0, 10.0),)
    if len(names) > 2:
        things += (world.Thing(names[2], names[3], "large", 40.0, 40.0, 14.0),)
    return world.Scene(things, names[4] if len(names) > 2 else None, "green", (0.0, 0.0))


PLAIN = captions.Wording("", "a", (False, False), True, "between", "", (0.0,) * 8)


def test_swapped_by_hand():
    scene = _scene("red", "circle", "orange", "square", "above")
    assert PLAIN.say(scene).text == "a red circle above an orange square"
    told = {name: caption.text for name, caption in captions.swapped_captions(scene, PLAIN).items()}
    assert told == {
        "colour": "an orange circle above a red square",
        "shape": "a red square above an orange circle",
        "position": "an orange square above a red circle",
    }  # no "size": this wording does not name it


def test_swapped_leaves_out_what_means_the_same():
    listed = captions.Wording("", "a", (False, False), True, "and", "", (0.0,) * 8)
    scene = _scene("red", "circle", "blue", "circle", "above")
    assert captions.swapped_captions(scene, listed) == {}  # "a blue circle and a red circle" is the same
    assert set(captions.swapped_captions(scene, PLAIN)) == {"colour", "position"}
    assert captions.swapped_captions(_scene("red", "circle"), PLAIN) == {}
    assert world.swapped(_scene("red", "circle")) == {}


def test_swapped_captions_always_differ(many):
    for index, scene in enumerate(many[2]):
        wording = captions.random_wording(np.random.default_rng(index))
        own = wording.say(scene)
        for other in captions.swapped_captions(scene, wording).values():
            assert other.text != own.text


def test_meaning_is_blind_to_the_way_it_is_told(many):
    for scene in many[2][:300]:
        swap = str.maketrans("12", "21")
        stated = PLAIN.say(scene).stated
        turned = frozenset(name.translate(swap) for name in stated) if scene.relation else stated
        assert captions.meaning(scene, stated) == captions.meaning(scene.turned(), turned)


# ---------------------------------------------------------------- the interface


def test_the_form_of_a_scene_by_hand():
    below = _scene("red", "circle", "blue", "star", "below")
    form = dict(zip(description.FIELDS, description.describe(below)))
    read = {field: description.FIELDS[field][option] for field, option in form.items()}
    assert read == {
        "relation": "above",
        "background": "green",
        "colour 1": "blue",
        "shape 1": "star",
        "size 1": "large",
        "colour 2": "red",
        "shape 2": "circle",
        "size 2": "small",
    }
    assert description.describe(below.turned()) == description.describe(below)
    said = description.describe_stated(below, frozenset({"colour 1", "relation"}))  # of the red thing, below
    filled = {field: option for field, option in zip(description.FIELDS, said) if option != description.EMPTY}
    assert filled == {"colour 2": form["colour 2"], "relation": form["relation"]}


def test_captions_fill_in_what_they_mean(many):
    """Two captions with one meaning fill in the same fields, and no caption fills in a wrong one."""
    _, told, shown = many
    for caption, scene in zip(told, shown):
        whole, said = description.describe(scene), description.describe_stated(scene, caption.stated)
        assert all(option in (known, description.EMPTY) for option, known in zip(said, whole))
        known = sum(option != description.EMPTY for option in said)
        if scene.relation is None:
            assert known == len(caption.stated) + 1  # and that there is no second thing
        elif "relation" in caption.stated:
            assert known == len(caption.stated)
        else:
            assert known == ("background" in caption.stated)  # which thing is first is not said


@pytest.mark.parametrize(
    "data",
    [scenes.Scenes(10, seed=4), scenes.Scenes(10, seed=4, held_out=True), digits.Digits(), digits.Digits(8)],
    ids=["scenes", "held out", "digits", "small"],
)
def test_interface(data):
    image, caption, attributes = data[3]
    assert image.dtype == torch.float32 and image.shape[0] == 3 and image.shape[1] == image.shape[2]
    assert image.min() >= -1 and image.max() <= 1
    assert isinstance(caption, str) and caption and attributes is not None
    assert len(list(data)) == len(data) or len(data) > 10
    for index in (len(data), -1):
        with pytest.raises(IndexError):
            data[index]


def test_digits():
    small, large = digits.Digits(8), digits.Digits(64)
    assert len(small) == 1797
    assert small[0][1] == "a handwritten zero" and small[0][2].value == 0
    assert {small[i][1].split()[-1] for i in range(100)} == set(digits.DIGITS)
    assert small[5][0].shape == (3, 8, 8) and large[5][0].shape == (3, 64, 64)
    back = torch.nn.functional.avg_pool2d(large[5][0], 8)
    assert (back - small[5][0]).abs().mean() < 0.15  # enlarged, not something else
    with pytest.raises(ValueError, match="≥ 8"):
        digits.Digits(4)


# ---------------------------------------------------------------- a folder of images


def _write(path, entries):
    lines = [entry if isinstance(entry, str) else json.dumps(entry) for entry in entries]
    (path / "metadata.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _red(mode):
    """A 40×30 image in this mode, bright red or, where there is no colour, light gray (about 200)."""
    if mode in ("L", "LA"):
        return Image.new("L", (40, 30), 200).convert(mode)
    if mode == "I;16":
        return Image.fromarray(np.full((30, 40), 200 * 257, np.uint16))
    if mode == "1":
        return Image.new("1", (40, 30), 1)
    return Image.new("RGB", (40, 30), (250, 0, 0)).convert(mode)


@pytest.mark.parametrize(
    ("mode", "suffix"),
    [
        ("RGB", "png"),
        ("RGBA", "png"),
        ("P", "png"),
        ("L", "png"),
        ("LA", "png"),
        ("1", "png"),
        ("I;16", "png"),
        ("CMYK", "jpg"),
        ("RGB", "jpg"),
        ("RGB", "webp"),
        ("P", "gif"),
        ("RGB", "bmp"),
        ("CMYK", "tiff"),
    ],
)
def test_folder_reads_every_mode(tmp_path, mode, suffix):
    _red(mode).save(tmp_path / f"a.{suffix}")
    _write(tmp_path, [{"file_name": f"a.{suffix}", "text": "red"}])
    data = folder.Folder(tmp_path)
    image, caption, attributes = data[0]
    assert image.shape == (3, 64, 64) and caption == "red" and attributes is None and data.skipped == []
    value = ((image.mean((1, 2)) + 1) * 127.5).tolist()
    if mode in ("L", "LA", "I;16"):
        assert value == pytest.approx([200] * 3, abs=2)
    elif mode == "1":
        assert value == pytest.approx([255] * 3, abs=2)
    else:
        assert value == pytest.approx([250, 0, 0], abs=12)


def test_folder_lays_transparency_on_white(tmp_path):
    Image.new("RGBA", (20, 20), (0, 0, 0, 0)).save(tmp_path / "a.png")
    _write(tmp_path, [{"file_name": "a.png", "text": "nothing"}])
    assert (folder.Folder(tmp_path)[0][0] == 1).all()


def test_folder_obeys_exif_rotation_and_crops_the_middle(tmp_path):
    """Stored on its side, with the tag that says so; the left third is cut off by the square crop."""
    picture = np.zeros((60, 120, 3), np.uint8)
    picture[:, :30] = (255, 0, 0)  # cut off
    picture[:30, 30:90] = (0, 255, 0)  # the upper half of the middle
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn by 90° clockwise to view"
    Image.fromarray(np.rot90(picture)).save(tmp_path / "a.jpg", exif=exif, quality=95)
    _write(tmp_path, [{"file_name": "a.jpg", "text": "green above black"}])
    image = folder.Folder(tmp_path, size=32).images[0].permute(1, 2, 0) > 128
    assert image[4:12, 4:-4, 1].all() and not image[20:28, 4:-4, 1].any()
    assert not image[..., 0].any()


def test_folder_names_counts_and_skips_what_is_broken(tmp_path):
    Image.new("RGB", (80, 70), "blue").save(tmp_path / "good.png")
    whole = (tmp_path / "good.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[:60])
    noise = np.random.default_rng(0).integers(0, 255, (99, 99, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "c.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "c.jpg").read_bytes()[:2000])
    (tmp_path / "text.png").write_text("not an image")
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "sub").mkdir()
    bad = ["cut.png", "cut.jpg", "text.png", "empty.png", "missing.png", "sub", "../outside.png", "/etc/passwd", "a\0b"]
    entries = [{"file_name": name, "text": "x"} for name in bad]
    entries += [
        "{broken",
        "[1, 2]",
        "3",
        '{"file_name": "good.png"}',
        '{"file_name": "good.png", "text": " "}',
        '{"file_name": 7, "text": "x"}',
        "",
        "[" * 20_000,
    ]
    _write(tmp_path, [*entries, {"file_name": "good.png", "text": "blau: größer ✓"}])
    data = folder.Folder(tmp_path)
    assert len(data) == 1 and data.captions == ["blau: größer ✓"]
    assert [name for name, _ in data.skipped] == bad + [f"line {10 + k}" for k in (0, 1, 2, 3, 4, 5, 7)]
    assert all(reason for _, reason in data.skipped)
    line = folder.summary(data.skipped)
    assert line.startswith("skipped 16: cut.png (") and line.endswith("…") and "\n" not in line


def test_folder_with_nothing_usable(tmp_path):
    with pytest.raises(ValueError, match="no metadata.jsonl"):
        folder.Folder(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="no metadata.jsonl"):
        folder.Folder(tmp_path)
    (tmp_path / "metadata.jsonl").write_text("")
    with pytest.raises(ValueError, match="it is empty"):
        folder.Folder(tmp_path)
    _write(tmp_path, [{"file_name": "gone.png", "text": "x"}])
    with pytest.raises(ValueError, match=r"skipped 1: gone.png \(no such file\)"):
        folder.Folder(tmp_path)


# ---------------------------------------------------------------- near misses


def test_near_misses_differ_from_scenes():
    rng = np.random.default_rng(0)
    for index in range(60):
        scene = scenes.scene_at(0, index)
        image, bad_colours, bad_shapes = near_miss(rng, scene)
        same = np.array_equal(image, scenes.render([scene])[0])
        assert image.dtype == np.uint8 and same == (not any(bad_colours + bad_shapes))


def test_soften_keeps_range_and_mean():
    image = scenes.to_tensor(scenes.batch(0, range(32))[0]) / 2 + 0.5
    before = image.clone()
    soft = soften(image, torch.Generator().manual_seed(0))
    assert torch.equal(image, before) and soft.shape == image.shape
    assert soft.min() >= 0 and soft.max() <= 1
    assert (soft - image).abs().mean() < 0.05 and (soft != image).float().mean() > 0.5
