"""The numbers of every task of a meta-test or a comparison, in a file that any program reads: `evaluation.parquet`.

Its columns are `seed` (of the training), `group` (the numbers of the tasks or classes that an episode is made of, with
commas between them; null where each episode is a task of its own), `task`, `step` (of adaptation), `metric` and
`value`, and `algorithm` before them where several are compared. What is pooled over tasks, a calibration error, has a
row for each of the counts that it is made of, `calibration_error[0]` and so on; several targets have a row each,
`mse[0]` and so on. What else a table needs, such as fitted noise scales, stands in the file's metadata, so that a
comparison can be made again, or with a further row. There are no clock times in it: the same comparison writes the same
bytes.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from metafunc.data.atomic_write import replace_file
from metafunc.evaluation.meta_test import Evaluation
from metafunc.evaluation.scoring import Origin
from metafunc.results.comparison import Entry
from metafunc.training.json_file import FileError

NAME = "evaluation.parquet"
FORMAT = 1
KEY = b"metafunc"
COLUMNS = ("algorithm", "seed", "group", "task", "step", "metric", "value")
OF_ENTRY = ("algorithm", "seeds", "steps", "parameters")


@dataclass(frozen=True)
class Kept:
    """What such a file holds.

    Args:
        tasks: the family's name.
        entries: the learners, with their meta-tests but for the probes.
        marks: for each learner and seed what tells its test from others; None where it is not to be taken again.
    """

    tasks: str
    entries: tuple[Entry, ...]
    marks: tuple[tuple[str | None, ...], ...]

    def by_mark(self) -> dict[str, Evaluation]:
        """The meta-tests by what tells them apart."""
        pairs = zip(self.entries, self.marks, strict=True)
        each = (pair for entry, marks in pairs for pair in zip(marks, entry.evaluations, strict=True))
        return {mark: test for mark, test in each if mark is not None}


def write(path: Path, tasks: str, entries: Sequence[Entry], marks: Sequence[Sequence[str | None]] = ()) -> None:
    """Write the file of a comparison, all or nothing.

    Args:
        path: the file.
        tasks: the family's name.
        entries: the learners, all tested on the same tasks.
        marks: as in `Kept`; by default none.

    Raises:
        ValueError: two learners have the same name, or there is none.
        OSError: the disk is full or not writable.
    """
    names = [entry.algorithm for entry in entries]
    if not names or len({*names}) < len(names):
        raise ValueError(f"Every learner needs a name of its own, and there are {', '.join(names) or 'none'}.")
    _write(path, tasks, entries, marks or [[None] * len(entry.seeds) for entry in entries], compared=True)


def write_one(path: Path, tasks: str, entry: Entry) -> None:
    """Write the file of one run's meta-test, without the column `algorithm`, all or nothing."""
    _write(path, tasks, [entry], [[None] * len(entry.seeds)], compared=False)


def read(path: Path) -> Kept:
    """What the file of a comparison or of one meta-test holds.

    Raises:
        FileError: the file is damaged, or no such file.

    Examples:
        >>> import tempfile, torch
        >>> from pathlib import Path
        >>> from metafunc import algorithms, data, evaluate, likelihood, nn
        >>> from metafunc.results import comparison, per_task
        >>> family = data.sinusoid(num_test_queries=5)
        >>> learner = algorithms.maml(nn.mlp((1,), 1), likelihood.gaussian())
        >>> test = evaluate(learner, learner.init(data.generator_for(0, "init", 0)), family, num_tasks=4, num_steps=1)
        >>> entry = comparison.Entry("maml", (0,), (test,), steps=1, seconds=None, parameters=1761)
        >>> path = Path(tempfile.mkdtemp()) / per_task.NAME
        >>> per_task.write(path, "sinusoid", [entry])
        >>> again = per_task.read(path).entries
        >>> comparison.compare("sinusoid", again) == comparison.compare("sinusoid", [entry])
        True
    """
    from pyarrow import ArrowException, parquet

    try:
        with parquet.ParquetFile(path, page_checksum_verification=True) as file:
            table = file.read()
        about = json.loads(table.schema.metadata[KEY])
        if about["format"] != FORMAT:
            raise FileError(f"{path} has format {about['format']}, and this version of metafunc reads {FORMAT}.")
        found = _numbers(table, about)
        entries = tuple(_entry(each, about, found[number]) for number, each in enumerate(about["rows"]))
        return Kept(about["tasks"], entries, tuple(tuple(each["marks"]) for each in about["rows"]))
    except FileNotFoundError:
        raise
    except (ArrowException, OSError, ValueError, LookupError, TypeError) as error:
        if isinstance(error, FileError):
            raise
        raise FileError(f"{path} is damaged, or no file of metafunc's: {type(error).__name__}: {error}") from error


def _write(
    path: Path, tasks: str, entries: Sequence[Entry], marks: Sequence[Sequence[str | None]], *, compared: bool
) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    first = entries[0].evaluations[0]
    about = {
        "format": FORMAT,
        "tasks": tasks,
        **{name: getattr(first, name) for name in ("split", "seed", "kind", "num_outputs")},
        "groups": None if first.origin.groups is None else first.origin.groups.tolist(),
        "of": first.origin.of,
        "rows": [
            {**{name: getattr(entry, name) for name in OF_ENTRY}, "marks": list(mark), "tests": _tests(entry)}
            for entry, mark in zip(entries, marks, strict=True)
        ],
    }
    names = COLUMNS if compared else COLUMNS[1:]
    parts = [
        _part(entry, seed, test) for entry in entries for seed, test in zip(entry.seeds, entry.evaluations, strict=True)
    ]
    whole = pa.concat_tables([part for each in parts for part in each]).unify_dictionaries().select(list(names))
    whole = whole.replace_schema_metadata({KEY: json.dumps(about).encode()})
    sink = pa.BufferOutputStream()
    parquet.write_table(whole, sink, compression="zstd", write_page_checksum=True)
    content = sink.getvalue().to_pybytes()
    replace_file(path, lambda building: building.write_bytes(content))


def _tests(entry: Entry) -> list[dict[str, Any]]:
    """What an entry's meta-tests have besides numbers of tasks."""
    return [
        {
            "normalisation": test.normalisation,
            "pooled": {name: list(numbers) for name, numbers in test.pooled.items()},
            "values": {name: [list(each.shape), str(each.dtype)] for name, each in test.values.items()},
            "counts": {name: [list(each.shape), str(each.dtype)] for name, each in test.counts.items()},
            **(
                {} if test.by_target is None else {"by_target": [list(test.by_target.shape), str(test.by_target.dtype)]}
            ),
        }
        for test in entry.evaluations
    ]


def _part(entry: Entry, seed: int, test: Evaluation) -> Iterator[Any]:
    """The rows of one meta-test, as a table for each metric."""
    import pyarrow as pa

    def repeated(text: str | None, number: int) -> Any:
        return pa.DictionaryArray.from_arrays(np.zeros(number, np.int32), pa.array([text], pa.string()))

    groups = None if test.origin.groups is None else [",".join(map(str, each)) for each in test.origin.groups.tolist()]
    for metric, values in _columns(test):
        steps, tasks = values.shape
        of = pa.array([None] * tasks if groups is None else groups, pa.string()).dictionary_encode()
        task = np.tile(np.arange(tasks), steps)
        yield pa.table(
            {
                "algorithm": repeated(entry.algorithm, values.size),
                "seed": np.full(values.size, seed, np.int64),
                "group": of.take(pa.array(task)),
                "task": task,
                "step": np.repeat(np.arange(steps), tasks),
                "metric": repeated(metric, values.size),
                "value": values.reshape(-1),
            }
        )


def _columns(test: Evaluation) -> Iterator[tuple[str, Any]]:
    """What is measured, by name, (steps, tasks)."""
    for name, values in test.values.items():
        yield name, values.double().numpy()
    by_target = {} if test.by_target is None else {"mse": test.by_target}
    for name, counts in {**test.counts, **by_target}.items():
        flat = counts.double().reshape(*counts.shape[:2], -1).numpy()
        for number in range(flat.shape[-1]):
            yield f"{name}[{number}]", flat[..., number]


def _numbers(table: Any, about: Mapping[str, Any]) -> list[dict[tuple[int, str], Any]]:
    """By the learner, the seed and the metric, the numbers (steps, tasks), in whatever order the file has its rows."""
    names = [each["algorithm"] for each in about["rows"]]
    frame = {name: table[name].combine_chunks() for name in table.column_names}
    plain = {name: frame[name].to_numpy(zero_copy_only=False) for name in ("seed", "task", "step", "value")}
    metrics = frame["metric"].dictionary.to_pylist()
    metric = frame["metric"].indices.to_numpy(zero_copy_only=False)
    algorithm = np.zeros(len(metric), np.int64)
    if "algorithm" in frame:
        known = np.array([names.index(name) for name in frame["algorithm"].dictionary.to_pylist()])
        algorithm = known[frame["algorithm"].indices.to_numpy(zero_copy_only=False)]
    order = np.lexsort((plain["task"], plain["step"], metric, plain["seed"], algorithm))
    keys = np.stack([algorithm, plain["seed"], metric])[:, order]
    starts = np.flatnonzero(np.r_[True, (keys[:, 1:] != keys[:, :-1]).any(0)]) if keys.size else np.array([], int)
    found: list[dict[tuple[int, str], Any]] = [{} for _ in names]
    for begin, end in zip(starts, [*starts[1:], len(order)], strict=True):
        number, seed, code = keys[:, begin]
        found[number][int(seed), metrics[code]] = plain["value"][order[begin:end]]
    return found


def _entry(row: Mapping[str, Any], about: Mapping[str, Any], numbers: Mapping[tuple[int, str], Any]) -> Entry:
    origin = Origin(None if about["groups"] is None else torch.tensor(about["groups"]), about["of"])
    tests = tuple(
        Evaluation(
            split=about["split"],
            seed=about["seed"],
            kind=about["kind"],
            num_outputs=about["num_outputs"],
            normalisation=each["normalisation"],
            values={name: _tensor(numbers, seed, name, *kind) for name, kind in each["values"].items()},
            probe={},
            counts={name: _tensor(numbers, seed, name, *kind, pooled=True) for name, kind in each["counts"].items()},
            pooled={name: tuple(values) for name, values in each["pooled"].items()},
            origin=origin,
            by_target=_tensor(numbers, seed, "mse", *each["by_target"], pooled=True) if "by_target" in each else None,
        )
        for seed, each in zip(row["seeds"], row["tests"], strict=True)
    )
    return Entry(row["algorithm"], tuple(row["seeds"]), tests, row["steps"], None, row["parameters"])


def _tensor(
    numbers: Mapping[tuple[int, str], Any],
    seed: int,
    name: str,
    shape: Sequence[int],
    kind: str,
    *,
    pooled: bool = False,
) -> Tensor:
    count = math.prod(shape[2:])
    parts = [numbers[seed, f"{name}[{i}]"] for i in range(count)] if pooled else [numbers[seed, name]]
    stacked = torch.from_numpy(np.stack(parts, -1)).reshape(list(shape))
    return stacked.to(getattr(torch, kind.removeprefix("torch.")))
