"""`metafunc push`: a finished run onto the Hugging Face hub, with a page about it."""

import tempfile
import warnings
from pathlib import Path

from metafunc.data.atomic_write import write_text
from metafunc.results.html_report import html_report
from metafunc.results.model_card import model_card
from metafunc.results.plot_run import plot_run
from metafunc.training import hub
from metafunc.training.export import export
from metafunc.training.run import Run


def push(run: str | Path, name: str, *, private: bool = False, license: str | None = None) -> str:
    """Put a run onto the hub: its best meta-parameters, settings, log, meta-tests, pictures, report and a page.

    Its environment goes along without paths. What the repository held besides is replaced.

    Args:
        run: the run's folder.
        name: of the repository, `user/name`, which is made if there is none.
        private: whether a new repository is private.
        license: of what is put there, as the hub names it, such as "apache-2.0"; None: the page states none.

    Returns:
        The address that `metafunc.load` takes, with its revision.

    Raises:
        ValueError: no repository can have the name, the folder is no run, or it needs a module of yours.
        FileError: a file of the run is not what was recorded.
        DataUnavailable: the hub cannot be reached, or does not allow it.
    """
    hub.checked_name(name)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / name  # by whose last parts pictures and the report call the run
        return hub.upload(prepare(run, name, folder, license), name, private=private)


def prepare(run: str | Path, name: str, folder: Path, license: str | None = None) -> Path:
    """Write what `push` uploads into an empty folder, and return it."""
    export(run, folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what there is nothing for is left out
        plot_run(folder)
        if "algorithm" in Run(folder).config:  # or the learner cannot be built elsewhere
            html_report(folder, called=name.split("/")[-1])
    write_text(folder / "README.md", model_card(Run(folder), name, license))
    return folder
