"""Picture files: a photograph of any kind becomes RGB and then a tensor, and a tensor an image that Pillow writes."""

import io
import warnings
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageCms, ImageFile, ImageOps
from torch import Tensor

from tinyldm.data.pixels import channels_first, to_float, to_uint8

# Pictures that are pixels. Pillow can do more: it hands EPS, which is a program, to Ghostscript, which runs it.
FORMATS = (
    *("PNG", "JPEG", "MPO", "WEBP", "AVIF", "GIF", "TIFF", "BMP", "DIB"),
    *("PPM", "TGA", "JPEG2000", "ICO", "PCX", "PSD", "SGI", "QOI"),
)
MAX_PIXELS = 2**26  # 67 million, which take up to a gigabyte while they are converted
DIMMEST = 1 / 16  # of white: a picture whose brightest pixel is darker has some other scale than the one assumed
COLOURFUL = 48  # the difference between red, green and blue, of 255, from which on a pixel of a mask is no gray


# ── In ───────────────────────────────────────────────────────────────────────────────────────────────


def open_picture(file: str | Path, ground: str = "white") -> Image.Image:
    """Open a picture file of any kind: upright, in sRGB with 8 bits a colour, transparent parts on `ground`.

    Of an animation or a stack, the first picture is taken.
    Raises: ValueError where the file does not exist, cannot be read, or leaves open how bright it is.
    """
    file = Path(file)
    if not file.is_file():
        raise ValueError(f"{file} does not exist or is not a file; expected a picture")
    try:
        return decoded(file, ground)
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001  a broken file makes a decoder raise nearly anything
        raise ValueError(f"{file} is not a picture that can be read ({why_unreadable(error)})") from None


def open_mask(file: str | Path) -> Image.Image:
    """Open a mask, white where to repaint. Its transparent parts mark nothing, as nothing is painted there.

    Raises: ValueError as `open_picture`; and where it has transparent parts and colours, as then it may be a
        picture with a hole, and it is not clear which of the two is marked.
    """
    mask, on_white = open_picture(file, ground="black"), open_picture(file)
    transparent = np.asarray(mask) != np.asarray(on_white)  # (H, W, 3)
    pixels = np.asarray(mask, dtype=np.int16)
    if transparent.any() and (pixels.max(2) - pixels.min(2) > COLOURFUL).any():
        raise ValueError(
            f"{file} has transparent parts and colours, so it is not clear what it marks; expected white where to "
            "paint, and black or nothing elsewhere"
        )
    return mask


def decoded(file: Path | BinaryIO, ground: str) -> Image.Image:
    """The picture in a file, on the disk or in memory, as `open_picture` returns it. Raises what the decoder raises."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # large pictures and odd metadata are no fault of the picture's
        with Image.open(file, formats=formats()) as image:
            _shrink(image)
            _scale_key_colour(image)
            image.info["white_is_zero"] = getattr(image, "tag_v2", {}).get(262) == 0  # a tag of TIFF
            return to_rgb(ImageOps.exif_transpose(image), ground)


def formats() -> list[str]:
    """Those of FORMATS that the installed Pillow reads."""
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def _shrink(image: Image.Image) -> None:
    """Let a JPEG of very many pixels be decoded at a half or a quarter. Raises ValueError for other large pictures."""
    width, height = image.size
    if isinstance(image, ImageFile.ImageFile) and image.format in ("JPEG", "MPO") and width * height > MAX_PIXELS:
        image.draft(image.mode, (width // 2, height // 2))
        if image.width * image.height > MAX_PIXELS:
            image.draft(image.mode, (width // 4, height // 4))
    if image.width * image.height > MAX_PIXELS:
        raise ValueError(f"too large: {width:,}×{height:,}; {MAX_PIXELS:,} pixels are the most that is opened")


def why_unreadable(error: Exception) -> str:
    """An error of a decoder in words for the owner of the picture."""
    if isinstance(error, Image.UnidentifiedImageError):
        return f"no picture in one of the formats that are read: {', '.join(formats())}"
    if isinstance(error, Image.DecompressionBombError):
        return f"too large: {2 * (Image.MAX_IMAGE_PIXELS or 0):,} pixels are the most that is opened"
    return str(error) or type(error).__name__


def _scale_key_colour(image: Image.Image) -> None:
    """Bring the colour that a PNG calls transparent to the 8 bits to which Pillow brings all the others."""
    key = image.info.get("transparency")
    tiles = image.tile if isinstance(image, ImageFile.ImageFile) and image.format == "PNG" else []
    stored = tiles[0][3] if tiles else None  # as in the file: "L;2" has 2 bits
    if stored in ("L;2", "L;4"):
        image.info["transparency"] = None if key is None else key * (85 if stored == "L;2" else 17)
    elif stored == "RGB;16B" and key is not None:
        image.info["transparency"] = tuple(value >> 8 for value in key)


def to_rgb(image: Image.Image, ground: str = "white") -> Image.Image:
    """A Pillow image of any mode -> sRGB with 8 bits a colour, transparent parts on `ground`.

    Raises: ValueError for gray levels of more than 8 bits whose white is not known.
    """
    if image.mode == "F" or image.mode.startswith("I"):
        image = _to_8_bits(image)
    has_alpha = "A" in image.getbands() or "a" in image.getbands() or image.info.get("transparency") is not None
    colours = _to_srgb(image)
    if not has_alpha:
        return colours
    return Image.composite(colours, Image.new("RGB", image.size, ground), image.convert("RGBA").getchannel("A"))


def _to_srgb(image: Image.Image) -> Image.Image:
    """Any mode of 8 bits -> RGB, through the picture's own colour profile if it has one."""
    if image.mode not in ("L", "RGB", "CMYK", "LAB"):  # a palette, transparency, one bit, …
        profile = image.info.get("icc_profile")
        image = image.convert("RGBA").convert("RGB")
        image.info["icc_profile"] = profile
    if image.info.get("icc_profile"):
        try:
            profile = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
            srgb = ImageCms.profileToProfile(image, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
            assert srgb is not None  # it would be, were the image changed in place
            return srgb
        except (ImageCms.PyCMSError, OSError):
            pass  # a broken profile, or one of another kind of picture: viewers ignore it too
    return image.convert("RGB")


def _to_8_bits(image: Image.Image) -> Image.Image:
    """Gray levels of 16 or 32 bits, or floats -> "L", or "LA" where one gray level is transparent.

    What is white in them is told by the brightest: 255 or 65,535; for floats 1, too.
    """
    values = np.asarray(image, dtype=np.float32)  # exact up to 2²⁴
    low, high = float(values.min()), float(values.max())
    whites = (1.0, 255.0, 65535.0) if image.mode == "F" else (255.0, 65535.0)
    white = next((white for white in whites if high <= 1.01 * white), None)  # floats may overshoot a little
    if white is None or not low >= -0.01 * white or (white != whites[0] and 0 < high < DIMMEST * white):
        raise ValueError(
            f"its values run from {low:g} to {high:g}, so it is not clear what is white; expected "
            f"{' or '.join(f'0 … {white:g}' for white in whites)}: save it with 8 bits a colour"
        )
    gray = (values / white * 255).clip(0, 255).round().astype(np.uint8)
    result = Image.fromarray(255 - gray if image.info.get("white_is_zero") else gray)  # Pillow inverts 8 bits only
    key = image.info.get("transparency")
    if key is not None:
        result.putalpha(Image.fromarray(np.where(values == key, 0, 255).astype(np.uint8)))
    return result


def fitted(image: Image.Image, size: tuple[int, int]) -> Tensor:
    """Cut the middle out of an RGB picture and resize it: (1, 3, H, W) float32 in [0, 1], for size (H, W)."""
    return to_float(channels_first(np.array(middle(image, size))))[None]  # (3, H, W) -> (1, 3, H, W)


def middle(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The largest part in the middle that has the shape of `size` (H, W), resized to it."""
    return ImageOps.fit(image, size[::-1], Image.Resampling.LANCZOS)


def mask_from_box(box: tuple[int, int, int, int], image: Image.Image) -> Image.Image:
    """A mask that marks (left, top, right, bottom), in pixels of the picture. Raises ValueError outside of it."""
    left, top, right, bottom = box
    width, height = image.size
    if not (0 <= left < right <= width and 0 <= top < bottom <= height):
        raise ValueError(
            f"the box {left},{top},{right},{bottom} is not inside the picture; expected left < right in "
            f"0 … {width} and top < bottom in 0 … {height}"
        )
    mask = Image.new("RGB", image.size, "black")
    mask.paste("white", box)
    return mask


def fitted_mask(mask: Image.Image, image: Image.Image, size: tuple[int, int]) -> Tensor:
    """A mask for a picture, cut and resized with it: (1, 1, H, W) of 0 and 1; the bright part is 1.

    Raises: ValueError where it is of another size than the picture, or marks nothing.
    """
    if mask.size != image.size:
        raise ValueError(
            f"the mask has {mask.width}×{mask.height} pixels and the picture "
            f"{image.width}×{image.height}; expected the same"
        )
    marked = (fitted(mask, size).mean(1, keepdim=True) >= 0.5).float()
    if not marked.any():
        raise ValueError(
            "the mask marks nothing in the part of the picture that is used; expected white where it is to be repainted"
        )
    return marked


# ── Out ──────────────────────────────────────────────────────────────────────────────────────────────


def to_picture(image: Tensor) -> Image.Image:
    """(3, H, W) in [0, 1] -> a Pillow image."""
    return Image.fromarray(to_uint8(image).permute(1, 2, 0).cpu().numpy())
