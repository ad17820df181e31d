"""Picture files of every kind are as bright as a viewer shows them, or refused with a reason; never silently black."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from tinyldm.data.folder import Folder
from tinyldm.data.pictures import fitted_mask, open_mask, open_picture

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(depth: int, colour_type: int, pixel_row: bytes, key: bytes = b"", side: int = 8) -> bytes:
    """A PNG of equal rows, written by hand: Pillow writes neither 16 bits with a transparent colour nor 2 bits."""
    parts = [(b"IHDR", struct.pack(">IIBBBBB", side, side, depth, colour_type, 0, 0, 0)), (b"tRNS", key)]
    parts += [(b"IDAT", zlib.compress((b"\0" + pixel_row) * 8)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts if part != (b"tRNS", b""))


def pixel(file) -> tuple[int, int, int]:
    image = open_picture(file)
    assert image.mode == "RGB" and len(set(map(tuple, np.asarray(image).reshape(-1, 3).tolist()))) == 1
    return image.getpixel((0, 0))


# ── Gray levels of more than 8 bits ──────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "dtype, value, expected",
    [
        ("int32", 200, 200),  # case 17: a label map, or a picture from ImageJ
        ("int32", 0, 0),
        ("int32", 200 * 257, 200),
        ("uint16", 200 * 257, 200),
        ("uint16", 200, 200),  # 8 bits in a file of 16
        ("uint16", 65535, 255),
        ("float32", 0.5, 128),
        ("float32", 200.0, 200),
        ("float32", 1.004, 255),  # a resampled picture may overshoot a little
    ],
)
def test_brightness_is_kept(tmp_path, dtype, value, expected):
    Image.fromarray(np.full((8, 8), value, dtype)).save(tmp_path / "a.tif")
    assert pixel(tmp_path / "a.tif") == (expected,) * 3


@pytest.mark.parametrize(
    "dtype, value",
    [
        ("int32", 100_000),
        ("int32", -5),
        ("int32", 300),  # of 255 too much, of 65,535 nearly nothing
        ("uint16", 4000),  # a camera's 12 bits
        ("float32", 2.5),
        ("float32", -1.0),
        ("float32", np.nan),
        ("float32", np.inf),
    ],
)
def test_an_unknown_white_is_refused(tmp_path, dtype, value):
    Image.fromarray(np.full((8, 8), value, dtype)).save(tmp_path / "a.tif")
    with pytest.raises(ValueError, match="a.tif .*not clear what is white; expected 0 … .* 8 bits a colour"):
        open_picture(tmp_path / "a.tif")


def test_white_may_be_zero_in_tiff(tmp_path):
    image = Image.fromarray(np.full((8, 8), 200 * 257, "uint16"))
    image.save(tmp_path / "a.tif", tiffinfo={262: 0})
    assert Image.open(tmp_path / "a.tif").tag_v2[262] == 0
    assert pixel(tmp_path / "a.tif") == (55, 55, 55)
    Image.new("L", (8, 8), 200).save(tmp_path / "a.tif", tiffinfo={262: 0})  # of 8 bits, Pillow inverts it itself
    assert pixel(tmp_path / "a.tif") == Image.open(tmp_path / "a.tif").convert("RGB").getpixel((0, 0))


# ── Transparency ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "content",
    [
        png(16, 0, b"\0\0" * 8, b"\0\0"),  # case 17
        png(16, 0, b"\x11\x80" * 8, b"\x11\x80"),
        png(16, 2, b"\x11\x80" * 24, b"\x11\x80" * 3),
        png(16, 4, b"\x11\x80\0\0" * 8),
        png(8, 0, b"\x11" * 8, b"\0\x11"),
        png(4, 0, b"\x11" * 4, b"\0\x01"),
        png(2, 0, b"\x55" * 2, b"\0\x01"),
        png(1, 0, b"\0", b"\0\0"),
    ],
    ids=["16 bits, black", "16 bits", "16-bit RGB", "16 bits with alpha", "8 bits", "4 bits", "2 bits", "1 bit"],
)
def test_what_is_transparent_is_white(tmp_path, content):
    (tmp_path / "a.png").write_bytes(content)
    assert pixel(tmp_path / "a.png") == (255, 255, 255)


def test_what_is_opaque_is_not(tmp_path):
    (tmp_path / "a.png").write_bytes(png(16, 0, b"\x11\x80" * 8, b"\x11\x81"))
    assert pixel(tmp_path / "a.png") == (17, 17, 17)
    (tmp_path / "a.png").write_bytes(png(2, 0, b"\x55" * 2, b"\0\x02"))
    assert pixel(tmp_path / "a.png") == (85, 85, 85)


@pytest.mark.parametrize("mode", ["P", "PA", "LA", "RGBA"])
def test_transparency_of_palettes_and_alpha(tmp_path, mode):
    image = Image.new("RGBA", (8, 8), (10, 20, 30, 0))
    if mode == "P":
        image.convert("RGB").quantize(2).save(tmp_path / "a.png", transparency=0)
    else:
        image.convert("LA" if mode == "PA" else mode).save(tmp_path / "a.png")
    assert pixel(tmp_path / "a.png") == (255, 255, 255)


# ── Colours ──────────────────────────────────────────────────────────────────────────────────────────

COLOUR = (200, 100, 50)


@pytest.mark.parametrize(
    "mode, suffix", [("CMYK", "jpg"), ("CMYK", "tif"), ("LAB", "tif"), ("P", "gif"), ("YCbCr", "jpg")]
)
def test_colour_modes(tmp_path, mode, suffix):
    image = Image.new("RGB", (8, 8), COLOUR)
    (image.quantize(4) if mode == "P" else image.convert(mode)).save(tmp_path / f"a.{suffix}")
    assert pixel(tmp_path / f"a.{suffix}") == pytest.approx(COLOUR, abs=3)


@pytest.mark.parametrize("profile", [SRGB, b"rubbish"], ids=["sRGB", "broken"])
@pytest.mark.parametrize("mode, suffix", [("RGB", "png"), ("RGBA", "png"), ("P", "png"), ("L", "png"), ("CMYK", "jpg")])
def test_a_profile_of_srgb_or_of_nothing_changes_nothing(tmp_path, mode, suffix, profile):
    """A profile of RGB in a CMYK picture does not fit, and is ignored like a broken one."""
    image = Image.new("RGB", (8, 8), COLOUR)
    image = image.quantize(4) if mode == "P" else image.convert(mode)
    image.save(tmp_path / f"a.{suffix}", icc_profile=profile)
    expected = (124,) * 3 if mode == "L" else COLOUR
    assert pixel(tmp_path / f"a.{suffix}") == pytest.approx(expected, abs=3)


def test_a_profile_of_another_space_is_followed(tmp_path):
    """The coordinates of sRGB's colour in LAB, given a profile of LAB, are that colour again."""
    lab = Image.new("RGB", (8, 8), COLOUR).convert("LAB")
    lab.save(tmp_path / "a.tif", icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes())
    assert pixel(tmp_path / "a.tif") == pytest.approx(COLOUR, abs=3)


# ── Files ────────────────────────────────────────────────────────────────────────────────────────────


def test_the_first_frame_is_taken(tmp_path):
    frames = [Image.new("RGB", (8, 8), colour) for colour in (COLOUR, "black", "white")]
    for name in ("a.tif", "a.png", "a.gif"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
        assert pixel(tmp_path / name) == pytest.approx(COLOUR, abs=3)


def test_broken_exif_is_no_reason_to_refuse(tmp_path):
    Image.new("RGB", (8, 8), COLOUR).save(tmp_path / "a.jpg", exif=b"Exif\0\0II*\0garbage!!!")
    assert pixel(tmp_path / "a.jpg") == pytest.approx(COLOUR, abs=3)


def test_truncated_and_huge_files_are_refused(tmp_path):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))
    buffer = io.BytesIO()
    for kind in ("PNG", "JPEG", "TIFF"):
        buffer.seek(0)
        noise.save(buffer, kind)
        (tmp_path / "a").write_bytes(buffer.getvalue()[: buffer.tell() // 2])
        with pytest.raises(ValueError, match="not a picture that can be read"):
            open_picture(tmp_path / "a")
    (tmp_path / "a").write_bytes(png(8, 0, b"\0", side=20_000))
    with pytest.raises(ValueError, match="too large: 178,956,970 pixels are the most"):
        open_picture(tmp_path / "a")


def test_a_folder_reads_them_in_the_same_way(tmp_path):
    Image.fromarray(np.full((8, 8), 200, "int32")).save(tmp_path / "a.tif")
    Image.fromarray(np.full((8, 8), 300, "int32")).save(tmp_path / "b.tif")
    (tmp_path / "c.png").write_bytes(png(8, 0, b"\0", side=20_000))
    (tmp_path / "metadata.csv").write_text("file_name,text\na.tif,a\nb.tif,b\nc.png,c\n")
    folder = Folder(tmp_path)
    assert (folder.images == 200).all() and [name for name, _ in folder.skipped] == ["b.tif", "c.png"]
    assert "what is white" in folder.skipped[0][1] and "too large" in folder.skipped[1][1]


# ── Masks ────────────────────────────────────────────────────────────────────────────────────────────


def marked(folder, pixels: np.ndarray) -> float:
    """The marked share of a mask of these pixels, saved and opened again."""
    Image.fromarray(pixels).save(folder / "mask.png")
    return fitted_mask(open_mask(folder / "mask.png"), Image.new("RGB", (64, 64)), (64, 64)).mean().item()


def layer(left: tuple[int, ...], right: tuple[int, ...]) -> np.ndarray:
    pixels = np.empty((64, 64, len(left)), np.uint8)
    pixels[:, :32], pixels[:, 32:] = left, right
    return pixels


def test_a_white_stroke_on_a_transparent_layer_is_what_is_marked(tmp_path):
    """Case 04: as Krita and GIMP export it, whatever the colour that nobody sees."""
    for unseen in (0, 255):
        assert marked(tmp_path, layer((unseen, unseen, unseen, 0), (255, 255, 255, 255))) == 0.5
    assert marked(tmp_path, layer((0, 0, 0, 255), (255, 255, 255, 255))) == 0.5
    assert marked(tmp_path, layer((0, 0), (255, 255))) == 0.5  # gray with alpha


def test_a_faint_stroke_is_marked_from_half_on(tmp_path):
    assert marked(tmp_path, layer((0, 0, 0, 0), (255, 255, 255, 140))) == 0.5
    with pytest.raises(ValueError, match="marks nothing"):
        marked(tmp_path, layer((0, 0, 0, 0), (255, 255, 255, 100)))


def test_a_black_stroke_on_a_transparent_layer_marks_nothing_and_says_so(tmp_path):
    with pytest.raises(ValueError, match="marks nothing .* expected white where it is to be repainted"):
        marked(tmp_path, layer((0, 0, 0, 0), (0, 0, 0, 255)))


def test_a_picture_with_a_hole_is_refused(tmp_path):
    """Some programs mark with the hole, this one with white: what is meant is not clear."""
    with pytest.raises(ValueError, match="transparent parts and colours"):
        marked(tmp_path, layer((0, 0, 0, 0), (250, 200, 30, 255)))


def test_opaque_masks_of_many_bits(tmp_path):
    assert marked(tmp_path, np.where(layer((0,), (1,))[..., 0] > 0, 65535, 0).astype(np.uint16)) == 0.5
    assert marked(tmp_path, layer((0,), (255,))[..., 0]) == 0.5
