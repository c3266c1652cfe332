"""From an image file of one of the usual formats to pixels."""

import os
import warnings
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM")
"""The formats that are read; Pillow knows forty more, and for one of them (EPS) starts a program."""
GREY_MODES = frozenset({"1", "L", "LA"})
DEEP_MODES = ("I", "F")
"""More than 8 bits per pixel: Pillow would clip them at 255 silently."""


def as_images(cells: Any) -> Any:
    """An Arrow array of images, of bytes or of paths as one of images: of the bytes and the path of each."""
    from datasets import Image

    return Image(decode=False).cast_storage(cells)


def inverted(pixels: Any) -> Any:
    """Black for white; other numbers than pixels are refused with a ValueError.

    Args:
        pixels: a tensor or an array.
    """
    if pixels.dtype not in (torch.uint8, np.uint8):
        raise ValueError("Only pixels can be inverted, and these rows are floating-point numbers: leave invert off.")
    return 255 - pixels


def pixels_of(cell: Any, row: int, image_size: int | None, channels: int | None) -> NDArray[Any]:
    """The pixels of an image: upright as its EXIF data say, and on white where it is transparent.

    Args:
        cell: its bytes, or None, and its path.
        row: its number, for messages.
        image_size: side length to which it is resized; None: as it is.
        channels: 1 (grey) or 3 (colour); None: as it is.

    Returns:
        (channels, height, width), from 0 to 255.

    Raises:
        ValueError: there is none, or none that can be used; it is named.
    """
    if cell is None:
        raise ValueError(f"Row {row} has no image; leave such rows out.")
    image = _read(cell, f"Image {row}" + (f" ({cell['path']})" if cell["path"] else ""))
    return _decode(image, row, image_size, channels or (1 if image.mode in GREY_MODES else 3))


def _read(cell: Any, name: str) -> "Image":
    """An image of one of the usual formats, whatever its name ends in.

    Raises:
        ValueError: it is none, it is cut off or damaged, or it has too many pixels; it is named.
    """
    from PIL import Image, UnidentifiedImageError

    if cell["bytes"] is None and not os.path.isfile(cell["path"]):  # a FIFO would be waited for
        raise ValueError(f"{name} cannot be read: it is no file.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            source = cell["path"] if cell["bytes"] is None else BytesIO(cell["bytes"])
            with Image.open(source, formats=FORMATS) as image:
                image.load()
                return image.copy()
    except UnidentifiedImageError as error:
        raise ValueError(f"{name} cannot be read: it is none of {', '.join(FORMATS)}.") from error
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise ValueError(
            f"{name} has more than {Image.MAX_IMAGE_PIXELS:,} pixels, which a small file can claim to fill the memory: "
            "make it smaller, or leave it out."
        ) from error
    except Exception as error:  # a decoder of a damaged file fails with what it will
        raise ValueError(f"{name} cannot be read: {error}") from error


def _decode(image: "Image", row: int, image_size: int | None, channels: int) -> NDArray[Any]:
    from PIL.Image import Resampling

    if image.mode.startswith(DEEP_MODES):
        raise ValueError(
            f"Image {row} has more than 8 bits per pixel (mode {image.mode}); convert the images to 8 bits."
        )
    # A palette's numbers are no brightness, and Pillow resizes it and 1-bit images without smoothing: convert first.
    converted = _as_seen(image).convert("L" if channels == 1 else "RGB")
    if image_size is not None and converted.size != (image_size, image_size):
        converted = converted.resize((image_size, image_size), Resampling.LANCZOS)
    pixels = np.asarray(converted)
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)


def _as_seen(image: "Image") -> "Image":
    """An image as a viewer shows it: upright as its EXIF data say, and on white where it is transparent."""
    from PIL import Image, ImageOps

    upright = ImageOps.exif_transpose(image)
    if not upright.has_transparency_data:
        return upright
    layer = upright.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
