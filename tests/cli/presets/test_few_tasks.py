"""What is trained on a table without further words."""

from metafunc_cli.presets.all import PRESETS

from metafunc.training.candidates import PORTFOLIO


def test_the_usual_learner_of_a_table_is_trained_as_auto_does() -> None:
    (preset,) = [each for each in PRESETS if (each.algorithm, each.tasks) == ("mixed", "regression")]
    asked = next(each for each in PORTFOLIO if each.name == "mixed").config({}, seed=0)["training"]
    for name in ("steps", "num_tasks", "outer_lr", "schedule", "clip"):
        assert preset.training[name] == asked[name], name
