"""How the command line ends when it does not end well."""

import errno
import os
import re
import traceback
from collections.abc import Iterable, Sequence

from metafunc.checks import no_such

OK, FAILURE, USAGE, DATA, DIVERGED, INTERRUPTED = 0, 1, 2, 3, 4, 130
TRACEBACK = "METAFUNC_TRACEBACK"
NAMES = {
    getattr(errno, name)
    for name in ("ENAMETOOLONG", "ENOTDIR", "EISDIR", "ENOENT", "EEXIST", "ELOOP", "EACCES", "EPERM", "EROFS", "ENXIO")
}
"""What the system says of a name that cannot be used; what else it says is of a disk, or a limit, that is reached."""
SURROUNDINGS = {
    r"alloc|out of memory|[Ss]torage size|map segment": "This needs more memory than there is: take fewer tasks at a "
    "time (--chunk-size, --num-tasks), a smaller network or smaller data.",
    r"start new thread|[Rr]esource temporarily": "The system allows no further thread (ulimit -u): take fewer by "
    "OMP_NUM_THREADS=1 and --threads 1.",
}
LARGEST = 2**63 - 1


class UsageError(Exception):
    """What was asked for cannot be; the message states what can."""


def unknown(what: str, given: str, known: Iterable[str]) -> UsageError:
    """The error about a name that is not known."""
    return UsageError(no_such(what, given, known))


def check_words(argv: Sequence[str]) -> None:
    """Refuse words that are none, that no file can record, or that are whole numbers which no machine counts to.

    Raises:
        UsageError: one is; it is named.
    """
    for before, word in zip(("", *argv), argv, strict=False):
        flag, _, value = word.rpartition("=") if word.startswith("--") else (before, "", word)
        if not word:
            after = f" after {before}" if before else ""
            raise UsageError(f"There is an empty word{after}: a name, or a variable of the shell, is missing.")
        if not _is_text(word):
            raise UsageError(f"{word} is not encoded as UTF-8, which all that is written here is: rename it.")
        digits = value.lstrip("+-").lstrip("0")
        too_large = digits.isdecimal() and (len(digits), digits) > (len(str(LARGEST)), str(LARGEST))
        if too_large and not flag.endswith("seed"):
            raise UsageError(f"{flag or value} is given {value[:40]}, and whole numbers end at {LARGEST}.")


def expected(error: Exception) -> tuple[str, int]:
    """The message and the exit code of an exception.

    The exceptions of metafunc are looked up by name: importing them would import torch for a mere usage error.
    """
    if isinstance(error, UsageError):
        return str(error), USAGE
    codes = {"DataUnavailable": DATA, "Diverged": DIVERGED, "FileError": DATA, "CheckpointError": DATA}
    codes |= {"RankLost": FAILURE, "Drifted": FAILURE, "RefusedElsewhere": FAILURE}
    if type(error).__module__.startswith("metafunc.") and type(error).__name__ in codes:
        return str(error), codes.get(getattr(error, "kind", ""), codes[type(error).__name__])
    if isinstance(error, OSError):
        return _of_system(error), USAGE if error.errno in NAMES and error.filename is not None else DATA
    if isinstance(error, UnicodeError):
        return f"A name or a file is not encoded as UTF-8 ({error}).", DATA
    if isinstance(error, RuntimeError | MemoryError | ImportError):
        for pattern, message in SURROUNDINGS.items():
            if isinstance(error, MemoryError) or re.search(pattern, str(error)):
                return message, DATA
    if _starting_torch(error):
        variables = ", ".join(sorted(name for name in os.environ if name.startswith(("TORCH", "PYTORCH")))) or "none"
        said = " ".join(str(error).split())[:300]
        return f"torch does not start here: {said}. The environment variables that it reads: {variables}.", DATA
    return f"{type(error).__name__}: {error}. {TRACEBACK}=1 shows where it comes from.", FAILURE


def _starting_torch(error: Exception) -> bool:
    """Whether it was raised while torch was imported, by what the environment variables say."""
    frames = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
    return any((f.f_globals.get("__name__"), f.f_code.co_name) == ("torch", "<module>") for f in frames)


def _of_system(error: OSError) -> str:
    """What the system refused, by the name that was asked for and not the one that a file has while it is written."""
    name = error.filename2 if error.filename2 is not None else error.filename
    said = error.strerror or next(iter(str(error).splitlines()), type(error).__name__)
    place = "" if name is None else f"{re.sub(r'[.][0-9a-f]+[.]unfinished[.]', '', str(name))}: "
    return f"{place}{said.rstrip('.')}."


def _is_text(word: str) -> bool:
    try:
        word.encode()
    except UnicodeEncodeError:
        return False
    return True
