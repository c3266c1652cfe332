"""How long something takes, in words."""

MINUTE, DAY = 60, 86_400


def duration(seconds: float) -> str:
    """Seconds as people say them.

    Examples:
        >>> duration(0.2), duration(43.4), duration(200), duration(7_900), duration(200_000)
        ('under 1 s', '43 s', '3 min', '2 h 12 min', '2.3 days')
    """
    if seconds < 1:
        return "under 1 s"
    if round(seconds) < 2 * MINUTE:
        return f"{seconds:.0f} s"
    minutes = round(seconds / MINUTE)
    if minutes < 2 * MINUTE:
        return f"{minutes} min"
    if seconds < 2 * DAY:
        return f"{minutes // 60} h" + (f" {minutes % 60} min" if minutes % 60 else "")
    return f"{seconds / DAY:.1f} days"
