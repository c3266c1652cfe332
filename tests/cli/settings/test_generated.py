import ast
import inspect
import json
from collections.abc import Callable
from dataclasses import MISSING, asdict, replace
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, Optional

import pytest
from metafunc_cli.__main__ import run
from metafunc_cli.errors import OK
from metafunc_cli.presets.all import PRESETS
from metafunc_cli.settings import compose, generate, generated, names
from metafunc_cli.settings.options import OUTER_HELP, Training
from metafunc_cli.settings.signature import argument_help, hyperparameters, readable, summary


def test_config_is_what_the_builders_say() -> None:
    written = Path(inspect.getfile(generated)).read_text()
    assert ast.dump(ast.parse(written)) == ast.dump(ast.parse(generate.source())), "run `nox -s config`"


def test_a_changed_default_makes_config_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    from metafunc.data.table import FAMILIES

    def sinusoid(*, num_shots: int = 11) -> None: ...

    before = generate.source()
    monkeypatch.setitem(FAMILIES, "sinusoid", replace(FAMILIES["sinusoid"], builder=sinusoid))
    assert ast.dump(ast.parse(generate.source())) != ast.dump(ast.parse(before))


def test_kinds_are_those_of_the_families() -> None:
    """Of those that need no data; the others predict classes if they have a number of ways or a column of classes."""
    from metafunc.data.table import FAMILIES

    for name, row in FAMILIES.items():
        arguments = inspect.signature(row.builder).parameters
        if "path" in arguments:
            of_classes = {"num_ways", "target_column"} & {*arguments}
            kind = "classification" if of_classes else "regression"
        else:
            kind = row.builder().kind
        assert generated.FAMILIES[name].kinds == (kind,) == (row.kind,)


def test_an_outer_update_is_explained_by_its_row(monkeypatch: pytest.MonkeyPatch) -> None:
    from metafunc.training import outer

    def halved(learner: Any) -> Any:
        """Halve every number. Always."""

    found = generate.outer_updates({**outer.OUTER, "halved": outer.OuterUpdate(outer.adam, halved, ("control",))})
    assert found["halved"] == "Halve every number. Always (control only)"
    assert {name: found[name] for name in outer.OUTER} == generated.OUTER
    assert all(text in OUTER_HELP for text in generated.OUTER.values())
    monkeypatch.setattr(outer, "OUTER", {**outer.OUTER, "halved": outer.OuterUpdate(halved)})
    assert "'halved': 'Halve every number. Always'" in generate.source()


def test_no_name_is_two_things() -> None:
    assert not {*generated.ALGORITHMS} & {*generated.FAMILIES}


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.name)
def test_every_preset_has_settings_that_exist_and_a_learner_that_takes_them(preset: Any) -> None:
    from metafunc.training.build import build, learner_of

    table = ["--data.path", "T.csv"] if preset.tasks == compose.TABULAR else []
    settings = compose.read(["--preset", preset.name, *table]).settings.to_json()
    for section, values in (
        ("algorithm", preset.hyper),
        ("tasks", preset.data),
        ("model", preset.network),
        ("training", preset.training),
    ):
        for name, value in values.items():
            assert settings[section][name] == compose.plain(value)
    if generated.FAMILIES[preset.tasks].kinds == ("control",):
        pytest.importorskip("mujoco")
        build(settings)
        return
    regression = {
        **dict.fromkeys(("sinusoid", "sine_or_line", "few_task_sinusoid", "gp", "trend", "regression"), (1,)),
        "nme_sinusoid": (21,),
        "cauchy": (2,),
        "completion": (2,),
    }
    kind = "regression" if preset.tasks in regression else "classification"
    shape = regression.get(preset.tasks, (1, 28, 28))
    num_outputs = 1 if kind == "regression" else settings["tasks"]["num_ways"]
    learner_of(settings, shape, kind, num_outputs)


def test_every_pair_with_a_paper_has_its_preset() -> None:
    assert {(p.algorithm, p.tasks) for p in PRESETS} >= {("maml", "sinusoid"), ("maml", "omniglot"), ("maml", "glyphs")}
    assert {p.algorithm for p in PRESETS} <= {*generated.ALGORITHMS}
    assert len({p.name for p in PRESETS}) == len(PRESETS)


WITH_PRESETS = (
    "maml fomaml reptile anil meta_sgd maml_plus_plus imaml emaml bmaml protonet cnp alpaca versa maml_noise platipus "
    "abml vampire pacoh llama mr_maml_w mr_maml_a mr_cnp_w mr_cnp_a pretrain deep_ensemble scratch "
    "pacoh_gp empirical_gp mixed dkt tnp "
    "maml_rl fomaml_rl promp bmaml_rl emaml_rl pretrain_rl random_policy oracle_policy"
)


def test_an_algorithm_whose_paper_has_settings_keeps_its_preset() -> None:
    assert {*WITH_PRESETS.split()} <= {p.algorithm for p in PRESETS}


def test_presets_of_few_tasks_weigh_their_hyper_prior_against_as_many_and_see_no_others() -> None:
    few = [preset for preset in PRESETS if preset.tasks in ("trend", "cauchy")]
    assert {(preset.algorithm, preset.tasks) for preset in few} >= {
        (algorithm, tasks) for algorithm in ("pacoh_gp", "empirical_gp") for tasks in ("trend", "cauchy")
    }
    for preset in few:
        settings = compose.read(["--preset", preset.name]).settings
        assert settings.data.num_train_tasks == getattr(settings.hyper, "num_train_tasks", 20) == 20
        assert settings.data.num_shots == {"trend": 5, "cauchy": 20}[preset.tasks]
        assert settings.training.validate_every is None


def test_an_algorithm_without_a_preset_trains_with_its_builder_s_defaults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(names, "PRESETS", [preset for preset in PRESETS if preset.algorithm != "anil"])
    out = tmp_path / "run"
    short = ["--steps", "2", "--num-tasks", "2", "--test-tasks", "4", "--quiet"]
    assert run(["train", "anil", "sinusoid", *short, "--out", str(out)]) == OK
    settings = json.loads((out / "config.json").read_text())
    row = generated.ALGORITHMS["anil"]
    assert settings["algorithm"] == {"name": "anil", **compose.plain(asdict(row.fields()))}
    assert settings["training"]["outer_lr"] == Training().outer_lr


def test_an_algorithm_alone_is_for_the_first_family_of_its_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "PRESETS", [])
    found = {name: compose.read([name]).settings.names["tasks"] for name in ("anil", "protonet", "maml_rl")}
    assert found == {"anil": "sinusoid", "protonet": "glyphs", "maml_rl": "navigation"}


def builder(
    model: object,
    rate: float,
    *,
    sizes: list[int] = [1, 2],  # noqa: B006 - the default is looked at, never used
    name: Optional[str] = None,  # noqa: UP045 - the older spelling has to be understood as well
    how: Literal["a", "b"] = "a",
    hook: Callable[[], None] = print,
) -> None:
    r"""Builds $\phi$.

    Args:
        model: the network.
        rate: step size $\alpha$,
            in units. It matters.
        sizes (list): of `layers`.
    """


def test_hyperparameters_are_read_from_signature_and_docstring() -> None:
    found = {h.name: (h.type, h.default, h.help) for h in hyperparameters(builder, given=1)}
    assert found == {
        "rate": (float, MISSING, "step size alpha, in units."),
        "sizes": (tuple[int, ...], (1, 2), "of layers."),
        "name": (str | None, None, ""),
        "how": (Literal["a", "b"], "a", ""),
    }
    assert summary(builder) == "Builds phi."


def test_an_argument_that_no_flag_can_give_is_refused() -> None:
    def demanding(*, hook: Callable[[], None]) -> None: ...

    with pytest.raises(ValueError, match="hook, which the command line cannot read"):
        hyperparameters(demanding)


def test_as_in_another_builder_is_resolved() -> None:
    from metafunc import nn

    assert argument_help(nn.conv4)["normalisation"] == argument_help(nn.mlp)["normalisation"]


@pytest.mark.parametrize("hint", [Callable[[], None], dict[str, int], int | str, tuple[ModuleType, ...], object])
def test_types_that_cannot_be_read(hint: Any) -> None:
    assert readable(hint) is None
