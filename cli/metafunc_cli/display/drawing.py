"""matplotlib as the user has set it up, and not as the current folder would."""

import os
from contextlib import chdir
from pathlib import Path

PLACES = ("MPLCONFIGDIR", "MATPLOTLIBRC")


def prepare() -> None:
    """Import matplotlib without the `matplotlibrc` of the current folder, which holds data, and without TeX.

    matplotlib reads that file before any other, and by `text.usetex` it has every text, such as the names of columns
    and classes, run as a program of TeX's.
    """
    for name in PLACES:
        if os.environ.get(name):
            os.environ[name] = os.path.abspath(os.environ[name])
    with chdir(Path(__file__).parent):
        import matplotlib

    matplotlib.rcParams["text.usetex"] = False
