"""`--quick` for every pair of algorithm and task family: the configuration exists, and is small."""

import os
from pathlib import Path
from typing import Any

import pytest
from metafunc_cli.__main__ import run
from metafunc_cli.errors import UsageError
from metafunc_cli.presets import quick
from metafunc_cli.settings import compose
from metafunc_cli.settings.compose import plain
from metafunc_cli.settings.generated import ALGORITHMS, FAMILIES
from metafunc_cli.settings.names import choose

from metafunc import data
from metafunc.training.build import learner_for

PAIRS = [
    (algorithm, tasks)
    for algorithm, row in ALGORITHMS.items()
    for tasks, family in FAMILIES.items()
    if family.kinds[0] in row.kinds
]
WITHIN = 60.0
"""Seconds that a first look may take."""
STARTING = 6.0
"""Seconds of a processor until a training has begun, and from its end to the prompt."""
MEASURED = {
    ("maml", "sinusoid"): (0.005, 2.3),
    ("maml", "sine_or_line"): (0.015, 2.9),
    ("maml", "glyphs"): (0.02, 1.2),
    ("maml", "completion"): (0.011, 4.0),
    ("maml_plus_plus", "completion"): (0.040, 1.8),
    ("imaml", "completion"): (0.037, 2.0),
    ("bmaml", "completion"): (0.047, 5.6),
    ("emaml", "completion"): (0.029, 13.0),
    ("np", "completion"): (0.060, 2.2),
    ("dkt", "gp"): (0.281, 5.2),
    ("maml_rl", "navigation"): (0.115, 3.0),
    ("maml_rl", "half_cheetah"): (1.21, 7.9),
}
"""Seconds of one busy processor: a step, without tracing; and all else of `--quick`, its tests and first step."""
DEAREST = {
    "regression": (["gp"], ["cauchy"], ["completion"], ["sine_or_line"]),
    "classification": (["circles"], ["glyphs", "--model", "conv4"]),
    "control": (["ant"],),
}
"""By kind the families, and a network, whose first looks take longest or are likeliest to fail, of those that need no
file: many points, two inputs, pixels, lines that are steep, and convolutions."""
NO_OPTIMUM = ("completion", "glyphs")
"""Tasks whose exact answer is not known."""
NEEDS_PATH = ("few_shot", "regression", "classification")


def asked(algorithm: str, tasks: str, *more: str) -> compose.Request:
    path = ["--data.path", "some.csv"] if tasks in NEEDS_PATH else []
    return compose.read([algorithm, tasks, "--quick", *path, *more])


def test_every_pair_has_a_quick_configuration() -> None:
    assert len(PAIRS) > 300
    for algorithm, tasks in PAIRS:
        names, preset = choose([algorithm, tasks], None, {}, None)
        parts = compose.before_flags(names, {}, preset, quick=True)
        training = parts["training"]
        assert training.steps <= max(quick.KIND_STEPS.values()), (algorithm, tasks)
        assert training.test_tasks <= 100
        assert (training.validate_every or 1) <= training.steps
        assert training.schedule != "constant" or training.outer_optimiser != "adam"
        for section, bounds in quick.bounds(names, FAMILIES[tasks].kinds[0]).items():
            for name, most in bounds.items():
                value: Any = getattr(parts[section], name, None)
                whole = value if isinstance(value, tuple | list) else [value or 0]
                assert max(whole) <= most, (algorithm, tasks, name)


@pytest.mark.parametrize(("algorithm", "tasks"), MEASURED)
def test_steps_are_so_few_that_a_first_look_ends_in_time(algorithm: str, tasks: str) -> None:
    step, rest = MEASURED[algorithm, tasks]
    steps = asked(algorithm, tasks).settings.training.steps
    assert STARTING + rest + steps * step <= 0.8 * WITHIN


@pytest.mark.parametrize(
    ("words", "steps"),
    [
        ("maml sine_or_line", 800),
        ("platipus sine_or_line", 400),
        ("maml gp", 400),
        ("platipus gp", 200),
        ("pacoh completion", 25),
        ("emaml sinusoid", 800),
        ("emaml glyphs --model conv4", 100),
        ("bmaml glyphs --model conv4", 50),
        ("maml glyphs --model conv4", 200),
        ("maml glyphs --model resnet12", 100),
        ("exact gp", 1),
        ("maml_rl ant", 5),
        ("maml_rl navigation", 8),
    ],
)
def test_steps_are_fewer_by_what_a_step_takes(words: str, steps: int) -> None:
    """By the algorithm, the family, and on convolutions the particles, whose product a step takes longer by."""
    assert asked(*words.split()).settings.training.steps == steps


@pytest.mark.parametrize(
    ("algorithm", "network"), [("maml", "conv4"), ("cnp", "mlp"), ("tnp", "mlp"), ("dkt", "conv4")]
)
def test_what_needs_a_network_over_vectors_has_one_on_images(algorithm: str, network: str) -> None:
    row = ALGORITHMS[algorithm]
    assert row.over_vectors == (network == "mlp")
    settings = asked(algorithm, "tiny_omniglot").settings
    assert settings.names["model"] == network
    learner_for(settings.to_json(), data.glyphs(num_shots=1, num_queries=1))


def test_convolutions_have_fewer_particles_and_test_tasks() -> None:
    few, many = (asked("emaml", "glyphs", "--model", model).settings for model in ("conv4", "mlp"))
    assert (few.hyper.num_particles, few.data.num_queries, few.training.test_tasks) == (2, 5, 50)
    assert (many.hyper.num_particles, many.data.num_queries, many.training.test_tasks) == (4, 10, 100)


def test_a_grid_over_two_inputs_is_coarse_and_implicit_steps_are_small() -> None:
    assert asked("convcnp", "cauchy").settings.hyper.points_per_unit == 3
    assert asked("convcnp", "gp").settings.hyper.points_per_unit == 16
    assert asked("imaml", "sine_or_line").settings.hyper.inner_lr == 0.01
    assert asked("imaml", "glyphs").settings.hyper.inner_lr == compose.read(["imaml", "glyphs"]).settings.hyper.inner_lr


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("algorithm", "words"),
    [(name, words) for name, row in ALGORITHMS.items() for kind in row.kinds for words in DEAREST[kind]],
)
def test_a_first_look_ends_in_time(
    algorithm: str, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In all, of one processor: twenty minutes for gp, cauchy, lines and circles, by what their steps and tests take;
    those on pixels, convolutions and ant come on top."""
    if "ant" in words:
        pytest.importorskip("mujoco")
    monkeypatch.chdir(tmp_path)
    began = spent()  # of one processor: how busy the machine is does not count
    code = run(["train", algorithm, *words, "--quick", "--quiet"])
    taken = spent() - began
    unknown = algorithm == "exact" and words[0] in NO_OPTIMUM
    assert code == (2 if unknown or (ALGORITHMS[algorithm].over_vectors and "conv4" in words) else 0)
    assert STARTING + taken <= WITHIN


def spent() -> float:
    """Seconds of all processors, with those of a compiler that was started."""
    return sum(os.times()[:4])


@pytest.mark.parametrize(
    ("algorithm", "tasks"),
    [("platipus", "sinusoid"), ("protonet", "glyphs"), ("tnp", "gp"), ("maml_rl", "ant"), ("mixed", "regression")],
)
def test_a_quick_configuration_is_one_of_the_command_line(algorithm: str, tasks: str) -> None:
    names, preset = choose([algorithm, tasks], None, {}, None)
    found = asked(algorithm, tasks).settings
    assert found.training == compose.before_flags(names, {}, preset, quick=True)["training"]
    assert found.names == names


def test_the_pair_of_the_tutorial_is_its_preset_as_it_is() -> None:
    small, preset = asked("maml", "sinusoid"), compose.read(["--preset", "quick"])
    assert small.settings.to_json() == preset.settings.to_json()
    assert not small.changed


def test_flags_count_more_than_what_is_small() -> None:
    found = asked("platipus", "sinusoid", "--steps", "7", "--num-steps", "9").settings
    assert (found.training.steps, found.hyper.num_steps) == (7, 9)
    assert asked("platipus", "sinusoid", "--steps", "7").changed


def test_what_a_method_is_stays_as_its_preset_has_it() -> None:
    usual, small = compose.read(["platipus", "sinusoid"]), asked("platipus", "sinusoid")
    assert small.preset == usual.preset
    assert small.settings.hyper.kl_weight == usual.settings.hyper.kl_weight == 0.1
    same = {name: value for name, value in vars(usual.settings.data).items() if name not in quick.DATA}
    assert {name: plain(vars(small.settings.data)[name]) for name in same} == plain(same)


def test_an_ant_has_few_and_short_episodes_for_every_particle() -> None:
    found, other = asked("bmaml_rl", "ant").settings, asked("bmaml_rl", "half_cheetah").settings
    assert (found.hyper.num_trajectories, found.hyper.num_particles, found.data.horizon) == (3, 2, 40)
    assert (other.hyper.num_trajectories, other.hyper.num_particles) == (10, 4)


def test_steps_of_learned_sizes_do_not_run_away_on_lines() -> None:
    assert asked("maml_plus_plus", "sine_or_line").settings.training.clip == 10
    assert asked("maml_plus_plus", "sine_or_line", "--clip", "3").settings.training.clip == 3
    assert asked("maml_plus_plus", "circles").settings.training.clip is None
    assert asked("meta_sgd", "sine_or_line").settings.training.clip is None


def test_what_is_recorded_is_not_made_small(tmp_path: Any) -> None:
    (tmp_path / "config.json").write_text('{"training": {"steps": 5}}')
    with pytest.raises(UsageError, match="--quick makes settings small"):
        compose.read(["maml", "sinusoid", "--quick", "--config", str(tmp_path / "config.json")])
