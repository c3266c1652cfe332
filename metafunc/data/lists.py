"""From lists of numbers, as Arrow has them, to rows of one shape."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metafunc.checks import counted


def numbers_of(cells: Any, rows: Sequence[int], column: str, image_size: int | None) -> NDArray[Any]:
    """Lists of numbers, or lists of lists, as one array.

    Args:
        cells: the lists, as an Arrow array.
        rows: which they are, for messages.
        column: their name, for messages.
        image_size: side length of the square images as which flat lists are read; None: they stay flat.

    Returns:
        (n, channels, height, width), or (n, length) for flat lists: uint8 for whole numbers, float32 for others.

    Raises:
        ValueError: the lists differ in length, or hold something else than numbers that are finite, or from 0 to 255.

    Examples:
        >>> import pyarrow
        >>> numbers_of(pyarrow.array([[1, 2, 3, 4], [5, 6, 7, 8]]), range(2), "pixels", 2).shape
        (2, 1, 2, 2)
    """
    values = _numbers(_rectangle(cells, column), column, rows)
    return np.ascontiguousarray(_shaped(values, column, image_size))


def _numbers(values: NDArray[Any], column: str, rows: Sequence[int]) -> NDArray[Any]:
    if np.issubdtype(values.dtype, np.floating):
        values = values.astype(np.float32)
        _check_rows(values, column, rows, np.isfinite, "a number that is not finite")
        return values
    whole = "an integer outside 0..255; use floating point"
    _check_rows(values, column, rows, lambda v: (v >= 0) & (v <= 255), whole)
    return values.astype(np.uint8)


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
        raise ValueError(
            f"Column {column!r} holds {counted(array.null_count, 'missing numbers')}; leave such rows out."
        )
    return np.asarray(array).reshape(shape)


def _check_rows(
    values: NDArray[Any],
    column: str,
    rows: Sequence[int],
    good: Callable[[NDArray[Any]], NDArray[Any]],
    problem: str,
) -> None:
    bad = ~good(values).reshape(len(values), -1).all(1)
    if bad.any():
        raise ValueError(f"Row {rows[int(bad.argmax())]} of column {column!r} holds {problem}.")


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
