"""What a command line of `metafunc compare` asks for: its own options, runs, and what `train` would be asked for."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from metafunc_cli import launch
from metafunc_cli.commands import same_tasks, transformed_trials, trial_cells, trial_folds
from metafunc_cli.display.screen import Screen
from metafunc_cli.errors import UsageError, unknown
from metafunc_cli.settings import compose, user_builders
from metafunc_cli.settings.arguments import ONE, Taken, Token, taken, together, tokens
from metafunc_cli.settings.check_least import check_least
from metafunc_cli.settings.comparison_options import Comparison
from metafunc_cli.settings.generated import ALGORITHMS, FAMILIES, MODELS, TRANSFORMS
from metafunc_cli.settings.names import choose, row
from metafunc_cli.settings.options import Training
from metafunc_cli.settings.run_argument import HELP, parse
from metafunc_cli.settings.table_argument import tables_in

WHAT = (
    "Train every ALGORITHM on TASKS with every seed, or take finished RUNs, meta-test all on the same new tasks, and "
    "compare: metafunc compare --algorithms maml platipus --tasks sine_or_line --seeds 3 --steps 2000, or metafunc "
    "compare RUN+laplace RUN. A training that the folder holds already is not repeated, an interrupted one goes on.\n\n"
    "All options of metafunc train can be given too: --inner-lr 0.01 for every algorithm that has it, --maml.inner-lr "
    "0.01 for one, and --model, --model.hidden, --data.num-shots and --num-tasks for all. --tnp.steps 10000 trains one "
    "longer than the others.\n\n"
    "Intervals are 95 %, over seeds and tasks; differences are to the first, paired by task."
)
SECTIONS = {"algorithm": "", "tasks": "data", "model": "model"}
"""The prefixes of the options by section."""
NOT_HERE = {"--seed": "--seeds", "--test-tasks": "--test-tasks", "--test-steps": "--test-steps"}
"""Options of `train` that this command has itself, under the same or another name, for all that it compares."""


def read(argv: Sequence[str]) -> tuple[Comparison, list[str], list[Token]]:
    """The command's own options, the runs, and the flags of `train`.

    Raises:
        UsageError: they do not fit each other, or a name is unknown.
    """
    own, names, passed = _sorted(argv)
    found: Comparison = parse("metafunc compare", WHAT, own, {"comparison": Comparison()}).comparison
    _check(found, names, passed)
    return found, names, passed


def folder(found: Comparison) -> Path:
    """Where a comparison's trainings, tables and figures go."""
    tasks = Path(found.tasks).stem if found.tasks and _table(found) else found.tasks
    usual = f"runs/compare-{tasks}" if tasks else "runs/compare"
    return Path(found.out or usual)


def _table(found: Comparison) -> str | None:
    """The table that was named in the place of a task family."""
    assert found.tasks is not None
    return next(iter(tables_in([found.tasks], {*ALGORITHMS, *FAMILIES})), None)


def _family(found: Comparison) -> str:
    """The task family; of a table, that which all algorithms take."""
    assert found.tasks is not None
    kinds = [ALGORITHMS[name].kinds for name in _algorithms(found) if name in ALGORITHMS]
    of_table = compose.TABULAR if all(compose.TABULAR in each for each in kinds) else "classification"
    return found.tasks if _table(found) is None else of_table


def _algorithms(found: Comparison) -> list[str]:
    """The algorithms that are trained, each once."""
    return [*dict.fromkeys(name.split("+")[0] for name in found.algorithms)]


def _sorted(argv: Sequence[str]) -> tuple[list[str], list[str], list[Token]]:
    """This command's own flags, the names that belong to none, and the flags of `train`."""
    own = {**taken("", Comparison), **dict.fromkeys(HELP, Taken(0, str))}
    known = flags()
    mine: list[str] = []
    names: list[str] = []
    passed: list[Token] = []
    for token in tokens(argv, lambda flag: known.get(_owned(flag)[1], ONE), spelled=_spelled):
        if not token.flag:
            names += token.words
        elif token.flag in own:
            mine += token.words
        else:
            passed.append(token)
    return mine, names, passed


def flags() -> dict[str, Taken]:
    """What all flags take: those of `train`, and the command's own."""
    return {**_of_train(), **taken("", Comparison), **dict.fromkeys(HELP, Taken(0, str))}


def _owned(flag: str) -> tuple[str, str]:
    """The algorithm that a flag is for, empty for all, and the flag as `train` has it."""
    algorithm, dot, rest = flag.removeprefix("--").partition(".")
    return (algorithm, f"--{rest}") if dot and algorithm in ALGORITHMS else ("", flag)


def _spelled(flag: str) -> str:
    """A flag in its usual spelling: with hyphens, but for an algorithm's name before the dot."""
    hyphened = flag.replace("_", "-")
    algorithm, dot, rest = hyphened.removeprefix("--").partition(".")
    name = algorithm.replace("-", "_")
    return f"--{name}.{rest}" if dot and name in ALGORITHMS else hyphened


def _of_train(algorithm: str | None = None, tasks: str | None = None, model: str | None = None) -> dict[str, Taken]:
    """The flags that `train` knows, of everything or of one algorithm, family and network."""
    parts: list[tuple[str, type]] = [("", Training)]
    if algorithm is not None and tasks is not None:
        names, _ = choose([algorithm, tasks], model, {}, None)
        parts += [(prefix, row(section, names[section]).fields) for section, prefix in SECTIONS.items()]
    else:
        tables = {"": ALGORITHMS, "data": FAMILIES, "model": MODELS}
        parts += [(prefix, entry.fields) for prefix, table in tables.items() for entry in table.values()]
    found = {"--model": Taken(1, str), "--init-from": Taken(1, str)}
    for prefix, fields in parts:
        found = together(found, taken(prefix, fields))
    return {flag: takes for flag, takes in found.items() if flag not in NOT_HERE}


def _check(found: Comparison, names: Sequence[str], passed: Sequence[Token]) -> None:
    check_least(found, seeds=1, test_tasks=1, test_steps=0, shots=0, jobs=1, ranks=1)
    if names:
        _check_runs(found, names, passed)
    else:
        _check_trainings(found, passed)


def refuse_algorithms(names: Sequence[str]) -> None:
    """Refuse the name of an algorithm where a run's folder has to be.

    Raises:
        UsageError: there is one, and no folder of that name.
    """
    for name in names:
        if name in ALGORITHMS and not Path(name).exists():
            raise UsageError(f"{name} is no run but an algorithm, which compare trains by --algorithms {name}.")


def _check_runs(found: Comparison, names: Sequence[str], passed: Sequence[Token]) -> None:
    if found.algorithms or found.tasks:
        raise UsageError(
            "compare takes runs, or --algorithms and --tasks to train, and not both: "
            f"{', '.join(names)} is one too many."
        )
    refuse_algorithms(names)
    if passed:
        raise UsageError(f"{passed[0].flag} is for trainings, and {', '.join(names)} are finished: leave it out.")
    if found.folds is not None:
        raise UsageError(f"--folds is for trainings, and {', '.join(names)} are finished: leave it out.")
    if ways := trial_cells.ways(found):
        raise UsageError(f"{ways[0]} is for trainings, and {', '.join(names)} are finished: leave it out.")
    for name in names:
        transformed_trials.split(name)


def _check_trainings(found: Comparison, passed: Sequence[Token]) -> None:
    if found.ranks != 1 or launch.is_rank():
        raise UsageError(
            "Ranks share the tests of finished runs, whose folders compare then takes: train each by metafunc train "
            "--ranks."
        )
    if not found.algorithms or found.tasks is None:
        missing = "--algorithms" if not found.algorithms else "--tasks"
        example = "metafunc compare --algorithms maml platipus --tasks sine_or_line --seeds 3 --steps 2000"
        raise UsageError(f"compare needs {missing}, or the folders of finished runs. For example: {example}")
    for name in found.algorithms:
        algorithm, *transforms = name.split("+")
        if not user_builders.is_own(algorithm) and algorithm not in ALGORITHMS:
            raise unknown("algorithm", algorithm, ALGORITHMS)
        for transform in transforms:
            if transform not in TRANSFORMS:
                raise unknown("transform", transform, TRANSFORMS)
    if not user_builders.is_own(found.tasks) and _family(found) not in FAMILIES:
        raise unknown("task family", found.tasks, FAMILIES)
    if found.folds is not None:
        trial_folds.check(found, _family(found), [_owned(token.flag)[1] for token in passed])
    if len({*found.algorithms}) < len(found.algorithms):
        raise UsageError(f"--algorithms names one of {', '.join(found.algorithms)} twice.")
    trial_cells.refuse_two_ways(found)


def requested(
    screen: Screen, found: Comparison, passed: Sequence[Token], typed: Sequence[str] = ()
) -> dict[str, list[compose.Request]]:
    """By algorithm, what `train` would be asked for, one request per seed: algorithms that differ in what is done after
    the training share one. The tasks are the first's, but for what is given for one algorithm. `typed` are the words of
    the command, for messages."""
    given = _by_algorithm(screen, found, passed)
    named = [_family(found), *filter(None, [_table(found)])]
    asked = {
        algorithm: compose.read([algorithm, *named, *_steps(found, algorithm), *each], typed)
        for algorithm, each in given.items()
    }
    for note in dict.fromkeys(request.note for request in asked.values() if request.note):
        screen.say(note)
    owned: dict[str, list[str]] = {}
    for token in passed:
        algorithm, flag = _owned(token.flag)
        owned.setdefault(algorithm, []).append(flag)
    common = same_tasks.common(screen, asked, owned)
    return {
        algorithm: [_anchored(_seeded(request, seed)) for seed in range(found.seeds)]
        for algorithm, request in common.items()
    }


def _seeded(request: compose.Request, seed: int) -> compose.Request:
    settings = dataclasses.replace(request.settings, training=dataclasses.replace(request.settings.training, seed=seed))
    return dataclasses.replace(request, settings=settings)


def _steps(found: Comparison, algorithm: str) -> list[str]:
    """The number of steps for an algorithm; one that does not train takes its own."""
    trains = algorithm not in ALGORITHMS or ALGORITHMS[algorithm].trains
    return ["--steps", str(found.steps)] if trains and found.steps is not None else []


def _anchored(request: compose.Request) -> compose.Request:
    settings = dataclasses.replace(request.settings, data=compose.anchored(request.settings.data))
    return dataclasses.replace(request, settings=settings)


def _by_algorithm(screen: Screen, found: Comparison, passed: Sequence[Token]) -> dict[str, list[str]]:
    """The flags of `train` that each algorithm gets."""
    model = next((token.words[-1] for token in passed if token.flag == "--model"), None)
    known = {algorithm: _of_train(algorithm, _family(found), model) for algorithm in _algorithms(found)}
    found_for: dict[str, list[str]] = {algorithm: [] for algorithm in known}
    # What is given for one algorithm counts more than what is given for all, in whatever order they stand.
    for token in sorted(passed, key=lambda token: _owned(token.flag)[0] != ""):
        takers = _takers(token.flag, known)
        for algorithm in takers:
            found_for[algorithm] += _as_train(token)
        others = [algorithm for algorithm in known if algorithm not in takers]
        if others and not _owned(token.flag)[0]:
            screen.say(f"note: {token.flag} is for {', '.join(takers)}, and no option of {', '.join(others)}.")
    return found_for


def _as_train(token: Token) -> list[str]:
    """A flag's words as `train` takes them, without an algorithm's name."""
    given = token.words[0].partition("=")[0]
    return [token.words[0].replace(given, _owned(token.flag)[1], 1), *token.words[1:]]


def _takers(flag: str, known: Mapping[str, Mapping[str, Taken]]) -> list[str]:
    """The algorithms that take a flag.

    Raises:
        UsageError: none does.
    """
    if flag in NOT_HERE:
        raise UsageError(f"{flag} is an option of train; compare has {NOT_HERE[flag]}.")
    owner, of_train = _owned(flag)
    if owner and owner not in known:
        raise UsageError(f"{flag} is for {owner}, which --algorithms does not name.")
    takers = [algorithm for algorithm in ([owner] if owner else known) if of_train in known[algorithm]]
    if not takers:
        every = {*taken("", Comparison), *(name for each in known.values() for name in each)}
        raise unknown(
            "option", flag, sorted(name for name in every if f"--{name.removeprefix('--no-')}" not in every - {name})
        )
    return takers
