"""Numbers that are too small, refused by the names of their flags before anything is loaded."""

from typing import Any

from metafunc.checks import at_least
from metafunc_cli.errors import UsageError


def check_least(options: Any, **least: int) -> None:
    """Refuse what is below its minimum.

    Args:
        options: a dataclass of options.
        least: by field, the least that it, or each of its values, may be.

    Raises:
        UsageError: a value is smaller.
    """
    for name, minimum in least.items():
        given = getattr(options, name)
        for value in given if isinstance(given, tuple) else (given,):
            try:
                at_least(minimum, **{f"--{name.replace('_', '-')}": value})
            except ValueError as error:
                raise UsageError(str(error)) from error
