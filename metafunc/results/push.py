"""`metafunc push`: a finished run onto the Hugging Face hub, with a page about it."""

import tempfile
import warnings
from pathlib import Path

from metafunc.data.atomic_write import write_text
from metafunc.results.model_card import model_card
from metafunc.results.plot_run import plot_run
from metafunc.training import hub
from metafunc.training.export import export
from metafunc.training.run import Run


def push(run: str | Path, name: str, *, private: bool = False) -> str:
    """Put a run onto the hub: its best meta-parameters, settings, log, meta-tests, pictures and a page about it.

    Its environment goes along without paths. What the repository held besides is replaced.

    Args:
        run: the run's folder.
        name: of the repository, `user/name`, which is made if there is none.
        private: whether a new repository is private.

    Returns:
        The address that `metafunc.load` takes, with its revision.

    Raises:
        ValueError: no repository can have the name, the folder is no run, or it needs a module of yours.
        FileError: a file of the run is not what was recorded.
        DataUnavailable: the hub cannot be reached, or does not allow it.
    """
    hub.checked_name(name)
    with tempfile.TemporaryDirectory() as temporary:
        return hub.upload(prepare(run, name, Path(temporary)), name, private=private)


def prepare(run: str | Path, name: str, folder: Path) -> Path:
    """Write what `push` uploads into an empty folder, and return it."""
    export(run, folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what there is nothing for is left out
        plot_run(folder)
    write_text(folder / "README.md", model_card(Run(folder), name))
    return folder
