"""`metafunc predict`: adapt a run's learner to a user-supplied task, and write what it predicts."""

from collections.abc import Sequence
from pathlib import Path

from metafunc.checks import counted
from metafunc.training import record
from metafunc_cli.display.results import show_lines, tidy
from metafunc_cli.display.screen import Screen, if_stopped, refusals
from metafunc_cli.errors import OK
from metafunc_cli.settings.compose import instance
from metafunc_cli.settings.names import look_over_imports
from metafunc_cli.settings.options import Prediction
from metafunc_cli.settings.run_argument import is_address, parse, run_and_flags

WHAT = (
    "Adapt the learner of a run (a folder, or hf://user/name@revision) to a new task: the examples in --support define "
    "the task, and for each row of --query the prediction and its spread are written to --out, or with --out - printed."
)
STDOUT = "-"


def main(argv: Sequence[str]) -> int:
    """Run the command; see `metafunc predict --help`."""
    run, flags = run_and_flags("predict", argv, ("", Prediction))
    asked = parse(f"metafunc predict {run or 'RUN'}", WHAT, flags, {"prediction": instance(Prediction)})
    found: Prediction = asked.prediction
    screen = Screen(json=found.json, quiet=True)
    file = _folder(run or "", found.imports) / "config.json"
    look_over_imports(record.config(file.parent), file, allowed=found.imports)
    from metafunc.data.files import csv_text
    from metafunc.results.predict_files import predict_files

    printed = found.out == STDOUT
    screen = Screen(json=found.json or printed, quiet=True)
    kept = "Nothing was printed." if printed else f"{found.out} is as it was before, or whole."
    with if_stopped(screen, kept), refusals():
        written = predict_files(
            file.parent,
            support=found.support,
            query=found.query,
            out=None if printed else found.out,
            target=found.target,
            num_steps=found.num_steps,
            transforms=found.transforms,
            conformal=found.conformal,
            seed=found.seed,
            overwrite=found.overwrite,
            imports=found.imports,
        )
    for note in written.notes:
        screen.say(f"note: {note}")
    scores = [(name, tidy(value)) for name, value in written.scores.items()]
    if printed and found.json:
        screen.result(written.to_json())
    elif printed:
        show_lines(screen.out, scores)
        print(csv_text(written.table), end="")
    else:
        rows = f"{written.out}: {counted(written.num_rows, 'rows')} with {', '.join(written.columns)}"
        show_lines(screen.out, [("wrote", rows), *scores])
        screen.result(written.to_json())
    return OK


def _folder(run: str, imports: bool) -> Path:
    """The run's folder, which is fetched where it lies on the hub."""
    if not is_address(run):
        return Path(run)
    from metafunc.training import hub

    with refusals():
        return hub.local(run, imports=imports)
