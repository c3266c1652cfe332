"""The same tasks with fewer support rows: nested support sets, and the same functions and query sets."""

from dataclasses import replace

import torch

from metafunc.checks import at_least, counted
from metafunc.data.sampling import changed
from metafunc.types import Sampler, Task, TaskFamily


def fewer_shots(family: TaskFamily, num_shots: int) -> TaskFamily:
    """A family whose tasks keep their first support rows alone: of classes, the first of each class.

    The other rows are cut off and not masked, so that a network which normalises over a support set sees them nowhere.

    Args:
        family: where the tasks come from; each has to have so many support rows, or so many of each of its classes.
        num_shots: support rows of a task, or of each class; 0 for none, as a row that is masked.

    Returns:
        The family. A task that it draws is the same function with the same query set, whatever `num_shots` is.

    Raises:
        ValueError: `num_shots` is negative, or the tasks are control; and when tasks are drawn that have fewer rows.

    Examples:
        >>> import torch
        >>> from metafunc.data import sinusoid
        >>> few = fewer_shots(sinusoid(num_shots=20), 3)
        >>> few.test(torch.Generator().manual_seed(0), 4).support.x.shape
        torch.Size([4, 3, 1])
    """
    at_least(0, shots=num_shots)
    if family.kind == "control":
        raise ValueError(f"{family.name} is control, whose tasks have no support rows of which there could be fewer.")
    by_class = family.kind == "classification"

    def fewer(sampler: Sampler) -> Sampler:
        return changed(sampler, lambda tasks: _first(tasks, num_shots, by_class=by_class))

    return replace(
        family,
        train=fewer(family.train),
        validation=fewer(family.validation),
        test=fewer(family.test),
        variants={name: fewer(sampler) for name, sampler in family.variants.items()},
    )


def _first(tasks: Task, num_shots: int, *, by_class: bool) -> Task:
    support = tasks.support
    num_rows = support.x.shape[1]
    present = torch.ones(support.x.shape[:2]).bool() if isinstance(support.mask, tuple) else support.mask > 0
    alike = support.y[:, :, None] == support.y[:, None] if by_class else torch.ones(1, num_rows, num_rows).bool()
    together = alike & present[:, None] & present[:, :, None]
    # How many rows of its class stand before a row; none does before the first.
    before = together.tril(-1).sum(-1)
    kept = present & (before < max(num_shots, 1))
    sizes = together.sum(-1).where(present, num_rows).amin(1) * present.any(1)
    fewest, num_classes = int(sizes.min()), (present & (before == 0)).sum(1)
    if num_shots > fewest or bool((num_classes != num_classes[0]).any()):
        of = " of a class" if by_class else ""
        raise ValueError(
            f"{num_shots} shots are more than the {counted(fewest, 'support rows')}{of} that a task has: draw tasks "
            f"with num_shots={num_shots}, a number and no range."
        )
    rows = (~kept).long().argsort(dim=1, stable=True)[:, : int(kept[0].sum())]
    x, y = (torch.stack([own[i] for own, i in zip(leaf, rows, strict=True)]) for leaf in (support.x, support.y))
    mask = () if num_shots else torch.zeros(rows.shape)
    return tasks._replace(support=support._replace(x=x, y=y, mask=mask))
