"""Open a class-labelled data set wherever it lies: on the hub, or as parquet, a `save_to_disk` folder, or images."""

import re
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from ssl import SSLError
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from metafunc.checks import one_of
from metafunc.data.parquet_rows import ParquetRows
from metafunc.data.sampling import WAYS_OUT, DataUnavailable

if TYPE_CHECKING:
    from datasets import Dataset

    from metafunc.data.parquet_rows import Part

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"})
OUTSIDE = "(images in no split)"
PROBE_SECONDS = 2.5
_COMMIT = re.compile(r"[0-9a-f]{40}")


class Source(NamedTuple):
    """Data sets by split name, and the commit that they came from, where there is one."""

    splits: "Mapping[str, Part]"
    revision: str | None = None


def place_of(path: str) -> Path:
    """Where data lie.

    Raises:
        TypeError: it is no path, but the data themselves.
    """
    if type(path).__name__.startswith("Iterable"):  # what `load_dataset(..., streaming=True)` returns
        raise TypeError(
            f"path is a {type(path).__name__}, and a task needs rows of any class at once, which a stream has one "
            "after the other: give the data set's name on the hub. It is loaded to the disk once, and never as a whole "
            "into memory: memory_limit and disk_limit say where its rows are."
        )
    if not isinstance(path, str | Path):
        raise TypeError(
            f"path is a {type(path).__name__}, and data are read from files, so that a run can find them again: write "
            'it to one first, such as data.to_parquet("data.parquet"), and give its path.'
        )
    return Path(path).expanduser()


def load(path: str, *, split_names: tuple[str, ...], subset: str | None, revision: str | None) -> Source:
    """All splits of a data set.

    Args:
        path: a hub id, or a local parquet file, folder of parquet files, `save_to_disk` folder or image folder.
        split_names: which top-level folders of an image folder are splits rather than classes.
        subset: the subset (configuration) of a hub data set that has several.
        revision: the hub commit, branch or tag.

    Returns:
        The splits by name.

    Raises:
        DataUnavailable: the path does not exist, or the hub does not answer and has left nothing in the cache.
    """
    place = place_of(path)
    if place.exists():
        return Source(_local(place, split_names))
    if place.is_absolute() or path.startswith((".", "~")) or place.suffix == ".parquet" or path.count("/") > 1:
        raise DataUnavailable(f"There is no file or folder {place}.\n{WAYS_OUT}")
    return _hub(path, subset, revision)


def _local(place: Path, split_names: tuple[str, ...]) -> "Mapping[str, Part]":
    from datasets import Dataset, load_from_disk

    if (place / "state.json").exists() or (place / "dataset_dict.json").exists():
        saved = load_from_disk(str(place))
        return {place.name: saved} if isinstance(saved, Dataset) else dict(saved)
    files = sorted(place.rglob("*.parquet")) if place.is_dir() else [place]
    if files:
        return _parquet(files)
    return _image_folder(place, split_names)


def _parquet(files: list[Path]) -> dict[str, ParquetRows]:
    """One split for each file name, the numbering of its shards (`train-00000-of-00004`) left out."""
    shards: dict[str, list[Path]] = defaultdict(list)
    for file in files:
        shards[re.sub(r"-\d+(-of-\d+)?$", "", file.stem)].append(file)
    return {name: ParquetRows(parts) for name, parts in shards.items()}


def _image_folder(place: Path, split_names: tuple[str, ...]) -> "dict[str, Dataset]":
    """A class is the folder that an image lies in, named by its path below the root, or below its split."""
    from datasets import Dataset, Features, Image, Value

    rows: dict[str, dict[str, list[str]]] = defaultdict(lambda: {"image": [], "label": []})
    files = [file for file in sorted(place.rglob("*")) if _is_image(file)]
    folders_of = {file: file.relative_to(place).parts[:-1] for file in files}
    # `train/cat/1.png` is of the split `train`; `train/1.png` is of a class of vehicles. Where one folder is a split,
    # its neighbours are others.
    split_apart = any(len(folders) > 1 and folders[0] in split_names for folders in folders_of.values())
    for file, folders in folders_of.items():
        in_split = split_apart and len(folders) > 1
        label = "/".join(folders[1:] if in_split else folders)
        if not label:
            raise ValueError(f"The image {file} lies in no class folder; put it into {place}/CLASS/.")
        split = folders[0] if in_split else OUTSIDE if split_apart else place.name
        rows[split]["image"].append(str(file))
        rows[split]["label"].append(label)
    if not rows:
        raise DataUnavailable(f"{place} holds no parquet file, no saved data set and no images.\n{WAYS_OUT}")
    features = Features(image=Image(), label=Value("string"))
    return {split: Dataset.from_dict(columns, features=features) for split, columns in rows.items()}


def _is_image(file: Path) -> bool:
    return file.suffix.lower() in IMAGE_SUFFIXES and file.is_file()  # a FIFO would be waited for


def _hub(path: str, subset: str | None, revision: str | None) -> Source:
    answered = _probe()  # Goes on while `datasets` is imported, which takes a second.
    from datasets import load_dataset
    from datasets.exceptions import DatasetsError

    online = answered()
    try:
        with nullcontext() if online else _offline():
            splits = dict(load_dataset(path, subset, revision=revision))
    except (OSError, DatasetsError, RuntimeError) as error:
        # No such repository, a private one, one that is a script (RuntimeError), a broken line, or a cold cache.
        reason = str(error) if online else "the Hugging Face hub does not answer, and the cache does not hold it."
        raise DataUnavailable(f"The data set {path!r} cannot be loaded: {reason}\n{WAYS_OUT}") from error
    found = _commit(next(iter(splits.values())))
    if revision is not None and _COMMIT.fullmatch(revision) and found not in (None, revision):
        raise DataUnavailable(
            f"Revision {revision} of {path!r} was asked for; the hub does not answer, and the cache holds {found}. "
            f"Leave the revision out to take what the cache holds.\n{WAYS_OUT}"
        )
    return Source(splits, found)


def _probe() -> Callable[[], bool]:
    """Begin to ask whether the hub answers; the result waits for the answer, but not for long.

    `load_dataset` itself tries for 23 seconds. The question is asked in a thread because no time limit covers the
    resolution of a host name.
    """
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return lambda: False
    answers: list[bool] = []

    def ask() -> None:
        try:
            with urlopen(Request(constants.ENDPOINT, method="HEAD"), timeout=PROBE_SECONDS):
                answers.append(True)
        except OSError as error:
            # A refusal (404, 503) or a certificate that only the hub's own client knows is an answer, too.
            answers.append(isinstance(error, HTTPError) or isinstance(getattr(error, "reason", None), SSLError))

    thread = threading.Thread(target=ask, daemon=True)
    deadline = time.monotonic() + PROBE_SECONDS
    thread.start()

    def answered() -> bool:
        thread.join(max(0.0, deadline - time.monotonic()))
        return answers == [True]

    return answered


@contextmanager
def _offline() -> Iterator[None]:
    """What HF_HUB_OFFLINE=1 does, which both libraries read once, when they are imported."""
    from datasets import config
    from huggingface_hub import constants

    before = config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE
    config.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE = before


def _commit(dataset: "Dataset") -> str | None:
    """The commit is the name of the folder in the cache."""
    folders = [Path(entry["filename"]).parent.name for entry in dataset.cache_files]
    return next((name for name in folders if _COMMIT.fullmatch(name)), None)


def column(dataset: "Part", name: str, what: str) -> list[Any]:
    """The values of a column.

    Args:
        dataset: where to look.
        name: the column's name.
        what: the hyperparameter that gave the name.

    Returns:
        A value for each row.

    Raises:
        ValueError: there is no such column.
    """
    return list(dataset[one_of(name, dataset.column_names, what)])


def class_names(dataset: "Part", name: str, prefix: str = "") -> list[str | int]:
    """The class of each row: by its name, where the data set has names, so that splits numbered apart can be compared.

    Args:
        dataset: where to look.
        name: the label column.
        prefix: to put before every class, with a slash.

    Returns:
        Strings or integers.

    Raises:
        ValueError: there is no such column, a row has no label, or labels are no names or whole numbers.
    """
    labels = column(dataset, name, "label_column")
    kind = dataset.features[name]
    bad = next((row for row, label in enumerate(labels) if not isinstance(label, str | int) or label == -1), None)
    if bad is not None:
        raise ValueError(f"Row {bad} of label column {name!r} is {labels[bad]!r}; a name or a whole number is needed.")
    if hasattr(kind, "int2str"):
        labels = [kind.int2str(label) for label in labels]
    return [f"{prefix}/{label}" for label in labels] if prefix else labels
