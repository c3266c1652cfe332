"""What inputs a module takes: stated by the user or by the module, or tried from the shapes of its first layers."""

import math
from collections.abc import Iterator
from typing import Literal, NamedTuple, TypeAlias, get_args

import torch
from torch import Generator, Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from metafunc.checks import one_of
from metafunc.testing.numerics.report import RAISED, described
from metafunc.types import Batch, Task

Numbers: TypeAlias = Literal["float", "int"]
SIDES = (32, 28, 64, 84, 224, 16, 8)
"""Of images, in the order in which they are tried; 32 first."""
LENGTH = 6
"""Of sequences."""
ROWS = 5
"""Of every batch: odd, so that no other axis is taken for it, and enough for batch statistics to mean something."""
FEW = 3
"""First layers whose shapes are tried."""


class InputsError(ValueError):
    """None of the inputs that were tried is taken."""


class Inputs(NamedTuple):
    """What one row of a module's inputs is.

    Args:
        shape: of a row, without the batch axis.
        numbers: `int` for indices, as an embedding takes them.
        size: indices are below it.
    """

    shape: tuple[int, ...]
    numbers: Numbers = "float"
    size: int = 2

    def draw(self, num_rows: int, generator: Generator) -> Tensor:
        """Rows at random: standard normal in double precision, or indices."""
        shape = (num_rows, *self.shape)
        if self.numbers == "int":
            return torch.randint(self.size, shape, generator=generator)
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    def __str__(self) -> str:
        shape = ",".join(map(str, self.shape)) or "()"
        return f"{shape} of indices below {self.size}" if self.numbers == "int" else shape


def inputs_of(
    module: nn.Module, *, input_shape: tuple[int, ...] | None = None, numbers: Numbers | None = None
) -> Inputs:
    """The inputs that a module takes.

    Args:
        module: in double precision.
        input_shape: of a row, without the batch axis. None: the shape of the module's attribute `example_input`, rows
            included; without that attribute, shapes are tried from the module's first layers (`in_features`,
            `in_channels`, `num_embeddings`, `Unflatten`, ...) until a forward passes.
        numbers: "float" or "int"; None: floats if a forward takes them.

    Raises:
        InputsError: if a forward passes with none of them.
    """
    if numbers is not None:
        one_of(numbers, get_args(Numbers), "numbers")
    tried, last = [], "It has no layer that tells a shape."
    for candidate in _candidates(module, input_shape):
        if (numbers is not None and candidate.numbers != numbers) or candidate in tried:
            continue
        tried.append(candidate)
        problem = _problem(module, candidate)
        if problem is None:
            return candidate
        last = problem
    listed = "; ".join(map(str, tried[:8])) or "none"
    raise InputsError(
        f"the module takes none of the inputs that were tried ({listed}; each with a batch axis of {ROWS} rows in "
        f"front). {last}"
    )


def random_tasks_of(inputs: Inputs, output_shape: tuple[int, ...], generator: Generator) -> Task:
    """Two stacked tasks with inputs drawn at random, and standard normal targets (2, *output_shape)."""

    def batch() -> Batch:
        x = torch.stack([inputs.draw(output_shape[0], generator) for _ in range(2)])
        return Batch(x, torch.randn((2, *output_shape), generator=generator, dtype=torch.float64))

    return Task(batch(), batch())


def _candidates(module: nn.Module, input_shape: tuple[int, ...] | None) -> Iterator[Inputs]:
    size = min((part.num_embeddings for part in module.modules() if isinstance(part, nn.Embedding)), default=2)
    example = getattr(module, "example_input", None)
    if input_shape is None and isinstance(example, Tensor):
        if example.is_floating_point():
            yield Inputs(tuple(example.shape[1:]))
        else:
            yield Inputs(tuple(example.shape[1:]), "int", min(size, int(example.max()) + 1) if size > 2 else 2)
    elif input_shape is not None:
        yield from (Inputs(input_shape), Inputs(input_shape, "int", size))
    else:
        stated = [shapes for part in module.modules() if (shapes := _shapes(part))]
        for shapes in stated[:FEW]:
            yield from shapes


def _shapes(part: nn.Module) -> list[Inputs]:
    """What the rows of a network that begins with this layer can be."""
    match part:
        case nn.Embedding():
            return [Inputs(shape, "int", part.num_embeddings) for shape in ((LENGTH,), ())]
        case nn.Unflatten():
            sizes = [size if isinstance(size, int) else size[1] for size in part.unflattened_size]
            return [Inputs((math.prod(side if size < 0 else size for size in sizes),)) for side in SIDES]
        case _ConvNd():
            return _images(part.in_channels, len(part.kernel_size))
        case nn.MultiheadAttention():
            return [Inputs((LENGTH, part.embed_dim))]
        case nn.Linear():
            return [Inputs(shape) for shape in ((part.in_features,), (LENGTH, part.in_features))]
        case nn.LayerNorm():
            return [Inputs(tuple(part.normalized_shape)), Inputs((LENGTH, *part.normalized_shape))]
        case nn.GroupNorm():
            return _images(part.num_channels, 2)
        case _BatchNorm():
            return [Inputs((part.num_features,)), *_images(part.num_features, 2), *_images(part.num_features, 1)]
    return []


def _images(channels: int, axes: int) -> list[Inputs]:
    return [Inputs((channels, *(side,) * axes)) for side in (SIDES if axes < 3 else (16, 32, 8))]


def _problem(module: nn.Module, inputs: Inputs) -> str | None:
    """Why a forward does not take these inputs; None if it does."""
    x = inputs.draw(ROWS, Generator().manual_seed(0))
    try:
        with torch.no_grad():
            output = module(x)
    except RAISED as error:
        return f"The last one failed: {described(error)}"
    if not isinstance(output, Tensor):
        return f"The module returned a {type(output).__name__}: wrap it so that it returns one tensor."
    if not output.is_floating_point() or output.ndim == 0 or output.shape[0] != ROWS:
        return f"The last one gave an output of shape {tuple(output.shape)}, and its first axis should be the rows'."
    return None
