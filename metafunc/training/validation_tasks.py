"""Whether a task family has validation tasks enough to choose by."""

from metafunc.checks import counted
from metafunc.data.sampling import TRAINED
from metafunc.evaluation import scoring
from metafunc.evaluation.metrics.intervals import count_groups
from metafunc.training.settings import ENOUGH
from metafunc.types import TaskFamily


def undecided(family: TaskFamily, seed: int, num_tasks: int) -> str:
    """Why validation tasks do not decide which meta-parameters are better; empty where they do.

    Args:
        family: where the tasks come from.
        seed: what they are drawn with.
        num_tasks: how many are drawn, of which a table's may be the same tasks again.

    Examples:
        >>> from metafunc import data
        >>> from metafunc.training.validation_tasks import undecided
        >>> undecided(data.sinusoid(), 0, 100)
        ''
    """
    origin = scoring.origin_of(family.validation, seed, "validation", num_tasks)
    number = count_groups(origin.groups, num_tasks)
    if origin.of == TRAINED:
        return "No task was left out of the training"
    if origin.groups is None or origin.groups.shape[1] > 1 or number >= ENOUGH:
        return ""
    there = "is" if number == 1 else "are"
    return f"There {there} {counted(number, f'validation {origin.of}')}, fewer than {ENOUGH} and too few"
