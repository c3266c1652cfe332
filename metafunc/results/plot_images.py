"""New images as a learner completes them from some of their pixels."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from metafunc.data.sampling import generator_for
from metafunc.evaluation.autoregressive import draw_functions, growing
from metafunc.results.figures.completion import Completion
from metafunc.results.figures.functions import moments
from metafunc.results.shown import NUM_DRAWS, Shown
from metafunc.types import Batch, Task


def completed(shown: Shown, task: Task, side: int, *, seed: int) -> Completion | None:
    """An image as a learner completes it; None where its predictions have no noise scale.

    A draw of the whole image takes the pixels that are not given in a random order, each given those before it. They
    come in blocks that grow with what is known, an eighth of what was drawn before, and within which pixels do not see
    each other: 51 adaptations for an image of 28 x 28, and not 784. Where rows cannot be drawn one after the other
    there are no draws.

    Args:
        shown: the learner.
        task: of a family whose test queries are all pixels of an image, line by line; prepared.
        side: the image's side length in pixels.
        seed: of the draws.
    """
    predicted = shown.predict(task)
    if isinstance(predicted.scale, tuple):
        return None
    mean, deviation = moments(predicted)
    known, ink = _given(task.support, side), task.query.y[:, 0]
    given = torch.zeros(side * side).to(ink).index_fill(0, known, 1.0)
    draws = _draws(shown, task, known, seed) if shown.draws_rows(predicted) else ink.new_zeros(0, side * side)
    image, mean, draws = (_square(leaf + 0.5, side) for leaf in (ink, mean, draws))
    return Completion(image, _square(given, side), mean, _square(deviation, side), draws)


def _given(support: Batch, side: int) -> Int64[Tensor, " rows"]:
    """Which pixels are given, by their numbers line by line."""
    x = support.x if isinstance(support.mask, tuple) else support.x[support.mask == 1]
    down, right = ((x + 1) / 2 * (side - 1)).round().long().unbind(-1)
    return down * side + right


def _draws(shown: Shown, task: Task, known: Int64[Tensor, " rows"], seed: int) -> Float[Tensor, "draws pixels"]:
    every = torch.randperm(task.query.x.shape[0], generator=generator_for(seed, "places", 0)).to(known)
    unknown = every[~torch.isin(every, known)]
    drawn = draw_functions(
        shown.learner, shown.meta, task.support, task.query.x[unknown],
        num_draws=NUM_DRAWS, noise_scale=shown.noise_scale, blocks=growing(len(unknown)), seed=seed,
    )  # fmt: skip
    whole: Tensor = task.query.y[:, 0].expand(NUM_DRAWS, -1).index_copy(1, unknown, drawn[..., 0])
    return whole


def _square(pixels: Float[Tensor, "*batch pixels"], side: int) -> Float[Tensor, "*batch side side"]:
    return pixels.reshape(*pixels.shape[:-1], side, side)
