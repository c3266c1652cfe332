"""A configuration becomes a finished training."""

from pathlib import Path
from typing import Any

import pytest
import torch

import metafunc
from metafunc import Execution, Outer, Recording, Validation, tree
from metafunc.training.build import build
from metafunc.training.config import train
from metafunc.training.run import Run

CONFIG: dict[str, Any] = {
    "algorithm": {"name": "maml", "inner_lr": 0.02},
    "tasks": {"name": "sinusoid", "num_shots": 4},
    "model": {"name": "mlp", "hidden": [4]},
    "training": {"steps": 4, "num_tasks": 3, "seed": 2},
}


def having(**training: Any) -> dict[str, Any]:
    return {**CONFIG, "training": {**CONFIG["training"], **training}}


def same(first: Any, second: Any) -> bool:
    return all(torch.equal(a, b) for a, b in zip(tree.leaves(first), tree.leaves(second), strict=True))


def test_every_setting_goes_where_it_belongs(tmp_path: Path) -> None:
    config = having(
        outer_lr=0.1, outer_optimiser="sgd", schedule="linear", clip=0.5, repeats=2, validate_every=2, log_every=2,
        checkpoint_every=3, chunk_size=2, threads=1, deterministic=True, compile="off", device="cpu",
        test_tasks=5, test_steps=1, init_from=None,
    )  # fmt: skip
    by_hand = metafunc.fit(
        *build(config),
        steps=4,
        num_tasks=3,
        seed=2,
        out=tmp_path / "one",
        outer=Outer(
            lambda leaves: torch.optim.SGD(leaves, lr=0.1),
            lambda update: torch.optim.lr_scheduler.LinearLR(update, 1.0, 0.0, total_iters=4),
            clip=0.5,
            repeats=2,
        ),
        validation=Validation(every=2),
        recording=Recording(config, checkpoint_every=3, log_every=2),
        execution=Execution("off", 2, "cpu", threads=1, deterministic=True),
    )
    trained = train(config, out=tmp_path / "two").fit
    assert same(trained.meta, by_hand.meta)
    assert trained.validation == by_hand.validation
    for name in ("metrics.jsonl", "config.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    kept = [sorted(path.name for path in Run(tmp_path / name).checkpoints.iterdir()) for name in ("one", "two")]
    assert kept[0] == kept[1]
    assert not same(trained.meta, train(having(outer_lr=0.05, outer_optimiser="sgd")).fit.meta)


def test_a_configuration_can_set_the_number_of_validation_tasks() -> None:
    few, usual = (train(having(validate_every=4, **more)).fit for more in ({"validation_tasks": 7}, {}))
    by_hand = metafunc.fit(*build(CONFIG), steps=4, num_tasks=3, seed=2, validation=Validation(4, num_tasks=7))
    assert few.validation == by_hand.validation != usual.validation


def test_what_is_left_out_has_the_defaults_of_fit() -> None:
    assert same(train(CONFIG).fit.meta, metafunc.fit(*build(CONFIG), steps=4, num_tasks=3, seed=2).meta)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (having(outer_rl=0.1), "training has no setting 'outer_rl'. Did you mean 'outer_lr'"),
        ({**CONFIG, "training": {}}, "training needs the setting 'steps'"),
        (having(validate_every=0), "validate_every must be .*not 0"),
        (having(validation_tasks=0), "validation_tasks must be .*not 0"),
        (having(checkpoint_seconds=-1), "checkpoint_seconds must be .*not -1"),
        (having(steps="x"), "training: steps must be of type int, not 'x'"),
        (having(num_tasks=2.5), "training: num_tasks must be of type int, not 2.5"),
        (having(clip="1"), "training: clip must be of type .*None, not '1'"),
        (having(deterministic=1), "training: deterministic must be of type bool, not 1"),
        ({**CONFIG, "training": 4}, "section 'training' must hold settings by name, not 4"),
        ({**CONFIG, "tasks": "sinusoid"}, "section 'tasks' must hold settings by name, not 'sinusoid'"),
        (having(outer_optimiser="adma"), "Did you mean 'adam'"),
    ],
)
def test_a_wrong_training_is_refused(config: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        train(config, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_training_starts_from_another_run_and_resumes_without_it(tmp_path: Path) -> None:
    source = train(CONFIG, out=tmp_path / "source").fit.meta
    warm = having(init_from=str(tmp_path / "source"), steps=1, outer_lr=1e-9)
    begun = train(warm, out=tmp_path / "run").fit.meta
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(tree.leaves(begun), tree.leaves(source), strict=True))
    assert not same(begun, train(having(steps=1, outer_lr=1e-9)).fit.meta)
    (tmp_path / "source").rename(tmp_path / "gone")
    assert same(train(warm, out=tmp_path / "run", resume=True).fit.meta, begun)
    with pytest.raises(ValueError, match="source"):
        train(warm, out=tmp_path / "other", resume=True)


def test_a_learner_that_is_built_already_is_trained() -> None:
    learner, family = build({**CONFIG, "algorithm": {"name": "reptile"}})
    trained = train(CONFIG, built=(learner, family))
    assert trained.learner is learner
    assert not same(trained.fit.meta, train(CONFIG).fit.meta)
