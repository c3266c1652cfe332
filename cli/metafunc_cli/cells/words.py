"""A command's words without some of its flags."""

from collections.abc import Mapping, Sequence

from metafunc_cli.settings.arguments import Taken, tokens


def without(argv: Sequence[str], flags: Mapping[str, int]) -> tuple[str, ...]:
    """The other words, in their order.

    Args:
        argv: the words.
        flags: what is left out, and how many words follow each.

    Examples:
        >>> without(["maml", "--jobs", "2", "--seeds", "3", "--json"], {"--jobs": 1, "--json": 0})
        ('maml', '--seeds', '3')
    """
    kept = tokens(argv, lambda flag: Taken(flags.get(flag, 0), str))
    return tuple(word for token in kept if token.flag not in flags for word in token.words)
