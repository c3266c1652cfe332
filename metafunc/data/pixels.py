"""From a column of images or numbers to one tensor: decoded once, so that an episode is nothing but a gather."""

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

if TYPE_CHECKING:
    from datasets import Dataset
    from PIL.Image import Image

from metafunc.checks import one_of

FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM")
"""The formats that are read; Pillow knows forty more, and for one of them (EPS) starts a program."""
GREY_MODES = frozenset({"1", "L", "LA"})
DEEP_MODES = ("I", "F")
"""More than 8 bits per pixel: Pillow would clip them at 255 silently."""


def materialise(
    datasets: "Sequence[Dataset]", column: str, *, image_size: int | None = None, channels: int | None = None
) -> Tensor:
    """All rows of a column as one tensor.

    Args:
        datasets: where the column is, one after the other.
        column: images (encoded, or paths), or lists of numbers of one length.
        image_size: side length to which images are resized, or as which vectors are read; None: as they are.
            Images are upright as their EXIF data say, and lie on white where they are transparent.
        channels: 1 (grey) or 3 (colour); None: those of the first image.

    Returns:
        (n, channels, height, width) for images, lists of lists and vectors with an `image_size`; (n, length) for other
        vectors. Numbers from 0 to 255 are kept as uint8, floating point as float32.

    Raises:
        ValueError: images of different sizes or kinds, ragged lists, or numbers that are neither; the row is named.
    """
    from datasets import Image, concatenate_datasets

    dataset = concatenate_datasets(
        [part.select_columns(one_of(column, part.column_names, "image_column")) for part in datasets]
    )
    kind = dataset.features[column]
    if isinstance(kind, Image) or getattr(kind, "dtype", None) in ("binary", "string", "large_binary", "large_string"):
        cells = (row[column] for row in dataset.cast_column(column, Image(decode=False)))
        return _images(cells, len(dataset), image_size, channels)
    return _numbers(dataset, column, image_size)


def inverted(pixels: Tensor) -> Tensor:
    """Black for white; other numbers than pixels are refused with a ValueError."""
    if pixels.dtype != torch.uint8:
        raise ValueError("Only pixels can be inverted, and these rows are floating-point numbers: leave invert off.")
    return 255 - pixels


def _images(cells: Iterator[Any], count: int, image_size: int | None, channels: int | None) -> Tensor:
    stored: NDArray[Any] | None = None
    for row, cell in enumerate(cells):
        if cell is None:
            raise ValueError(f"Row {row} has no image; leave such rows out.")
        image = _read(cell, f"Image {row}" + (f" ({cell['path']})" if cell["path"] else ""))
        channels = channels or (1 if image.mode in GREY_MODES else 3)
        pixels = _decode(image, row, image_size, channels)
        if stored is None:
            stored = np.empty((count, *pixels.shape), np.uint8)
        if pixels.shape != stored.shape[1:]:
            raise ValueError(
                f"Image {row} is {pixels.shape[2]} x {pixels.shape[1]} pixels, the first one "
                f"{stored.shape[3]} x {stored.shape[2]}. Give image_size=N to make all of them N x N."
            )
        stored[row] = pixels
    if stored is None:
        raise ValueError("The data set has no rows.")
    return torch.from_numpy(stored)


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


def _numbers(dataset: "Dataset", column: str, image_size: int | None) -> Tensor:
    chunks = dataset.with_format("arrow")[:].column(column).chunks
    values = np.concatenate([_rectangle(chunk, column) for chunk in chunks])
    if np.issubdtype(values.dtype, np.floating):
        values = values.astype(np.float32)
        _check_rows(values, column, np.isfinite, "a number that is not finite")
    else:
        _check_rows(values, column, lambda v: (v >= 0) & (v <= 255), "an integer outside 0..255; use floating point")
        values = values.astype(np.uint8)
    return torch.from_numpy(np.ascontiguousarray(_shaped(values, column, image_size)))


def _rectangle(array: Any, column: str) -> NDArray[Any]:
    import pyarrow as pa
    from pyarrow import compute

    array = array.storage if isinstance(array.type, pa.ExtensionType) else array
    shape = [len(array)]
    while pa.types.is_nested(array.type) and hasattr(array, "flatten") and not pa.types.is_struct(array.type):
        lengths = compute.unique(compute.list_value_length(array)).to_pylist()
        if len(lengths) != 1 or lengths[0] is None:
            raise ValueError(
                f"The lists in column {column!r} differ in length ({lengths[:5]}); make them equally long."
            )
        shape.append(lengths[0])
        array = array.flatten()
    if len(shape) == 1 or not (pa.types.is_integer(array.type) or pa.types.is_floating(array.type)):
        raise ValueError(f"Column {column!r} holds {array.type}; images or lists of numbers are needed.")
    if array.null_count:
        raise ValueError(f"Column {column!r} holds {array.null_count} missing numbers; leave such rows out.")
    return np.asarray(array).reshape(shape)


def _check_rows(
    values: NDArray[Any],
    column: str,
    good: Callable[[NDArray[Any]], NDArray[Any]],
    problem: str,
) -> None:
    bad = ~good(values).reshape(len(values), -1).all(1)
    if bad.any():
        raise ValueError(f"Row {int(bad.argmax())} of column {column!r} holds {problem}.")


def _shaped(values: NDArray[Any], column: str, image_size: int | None) -> NDArray[Any]:
    if values.ndim == 3:
        values = values[:, None]
    elif values.ndim == 4 and values.shape[1] not in (1, 3) and values.shape[3] in (1, 3):
        values = values.transpose(0, 3, 1, 2)  # Channels last, as image files have them.
    if image_size is None or values.shape[-2:] == (image_size, image_size):
        return values
    if values.ndim == 2 and values.shape[1] % image_size**2 == 0:
        return values.reshape(len(values), -1, image_size, image_size)
    raise ValueError(
        f"Column {column!r} has rows of shape {values.shape[1:]}, which cannot be read as {image_size} x {image_size} "
        "pixels. Lists of numbers are not resized: give the image_size they have, or leave it out."
    )
