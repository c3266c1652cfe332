"""What a builder says about a hyperparameter that is out of its range."""


def at_least(name: str, value: float | int, bound: float | int) -> None:
    """Refuse a value below a bound, or none at all (NaN)."""
    if not value >= bound:
        raise ValueError(f"{name} must be {bound:g} or above, not {value}.")


def above(name: str, value: float | int, bound: float | int) -> None:
    """Refuse a value that does not exceed a bound."""
    if not value > bound:
        raise ValueError(f"{name} must be above {bound:g}, not {value}.")


def one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """Refuse a name that is not on the list."""
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}, not {value!r}.")
