"""A run goes to a hub and comes back, byte by byte, from a server on this machine; what may run code is refused."""

import json
import math
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import ModelCard, constants
from metafunc_cli.__main__ import run as command

import metafunc
from metafunc import Recording, algorithms, data, likelihood, nn, tree
from metafunc.data.sampling import DataUnavailable
from metafunc.results.model_card import model_card
from metafunc.results.push import prepare, push
from metafunc.training import hub
from metafunc.training.config import train
from metafunc.training.export import export, without_paths
from metafunc.training.json_file import FileError
from metafunc.training.run import Run

from .fake_hub import Repositories, serving

NAME = "user/machines"
CONFIG = {
    "algorithm": {"name": "maml", "inner_lr": 0.01},
    "tasks": {"name": "sinusoid", "num_shots": 5},
    "model": {"name": "mlp", "hidden": [4]},
    "training": {"steps": 4, "num_tasks": 2, "validate_every": 2, "validation_tasks": 2, "seed": 3},
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained") / "run"
    done = train(CONFIG, out=folder)
    from metafunc.evaluation.meta_test import evaluate, report

    test = evaluate(done.learner, done.fit.best, done.family, num_tasks=8, num_steps=2, seed=3)
    made = report(test, algorithm="maml", tasks="sinusoid", run=str(folder), seed=3, steps=4)
    Run(folder).write("meta_test.json", made)
    return folder


@pytest.fixture(scope="module")
def prepared(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a push uploads."""
    return prepare(trained, NAME, tmp_path_factory.mktemp("prepared") / "run")


@pytest.fixture
def hubs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Repositories]:
    """A hub that is asked instead of the public one, and a cache of this test's own."""
    repositories = Repositories()
    with serving(repositories) as endpoint:
        monkeypatch.setattr(constants, "ENDPOINT", endpoint)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("HF_TOKEN", "hf_of_a_test")
        yield repositories


def same(one: Any, other: Any) -> bool:
    pairs = zip(tree.leaves(one), tree.leaves(other), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_a_run_goes_there_and_back_byte_by_byte(trained: Path, prepared: Path, hubs: Repositories) -> None:
    address = push(trained, NAME, private=True)
    assert hubs.private == {NAME: True}
    sent = hubs.files[NAME]
    files = {str(file.relative_to(prepared)): file.read_bytes() for file in prepared.rglob("*") if file.is_file()}
    assert sent.keys() == files.keys()
    assert {name for name in sent if not name.endswith(".png")} >= {
        "README.md",
        "config.json",
        "env.json",
        "meta_test.json",
        "report.html",
    }
    assert all(sent[name] == files[name] for name in files if not name.endswith((".png", ".html")))
    assert str(Path(tempfile.gettempdir()).resolve()) not in sent["report.html"].decode()
    fetched = hub.local(address)
    for file in (file for file in fetched.rglob("*") if file.is_file()):
        assert file.read_bytes() == sent[str(file.relative_to(fetched))]
    learner, meta = metafunc.load(address)
    own, best = metafunc.load(trained)
    assert same(meta, best)
    batch = metafunc.Batch(torch.linspace(-1, 1, 5)[:, None], torch.zeros(5, 1))
    assert same(learner.adapt(meta, batch), own.adapt(best, batch))


def test_what_is_handed_on_is_a_run_without_optimiser_and_paths(trained: Path, tmp_path: Path) -> None:
    target = Run(export(trained, tmp_path / "out"))
    assert not any("optimiser" in name for name in metafunc_tensors(target))
    assert target.report(target.meta_test)["run"] is None
    assert list(target.lines()) == list(Run(trained).lines())
    text = "".join(file.read_text() for file in target.path.rglob("*.json"))
    assert str(trained) not in text
    given = {"a": ["/x/y.csv", {"b": "C:\\data\\z.csv"}], "c": "maml", "d": "~/t.csv"}
    assert without_paths(given) == {"a": ["y.csv", {"b": "z.csv"}], "c": "maml", "d": "t.csv"}


def metafunc_tensors(run: Run) -> list[str]:
    from metafunc.training import checkpoint

    saved, damaged = checkpoint.newest(run.checkpoints)
    assert saved is not None
    assert not damaged
    return [*saved.tensors]


def test_the_page_states_the_results_by_machine_and_by_eye(trained: Path, prepared: Path) -> None:
    card = ModelCard((prepared / "README.md").read_text())
    row = json.loads((trained / "meta_test.json").read_text())["meta_test"]["by_step"][1]
    found = {result.metric_type: result.metric_value for result in card.data.eval_results}
    assert math.isclose(found["mse"], row["mse"]["mean"])
    assert card.data.library_name == "metafunc"
    for said in ("## Protocol", "## Results", "± ", "figures/adaptation.png", f"hf://{NAME}", "## Limits", "| **1** |"):
        assert said in card.text
    assert (prepared / "figures/adaptation.png").exists()


def test_the_page_states_a_licence_and_a_data_set_where_they_are_known(
    prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = Run(prepared).env

    def stated(licence: str | None, **info: str) -> Any:
        monkeypatch.setattr(Run, "env", {**env, "data": {**env["data"], "info": info}})
        return ModelCard(model_card(Run(prepared), NAME, licence)).data

    plain, of_hub = stated(None), stated("mit", source="GATE-engine/omniglot", revision="0a1b")
    assert (plain.license, plain.datasets) == (None, None)
    assert (of_hub.license, of_hub.datasets) == ("mit", ["GATE-engine/omniglot"])
    assert stated(None, source="images").datasets is None


def test_a_second_push_replaces_what_was_there(prepared: Path, hubs: Repositories) -> None:
    first = hub.upload(prepared, NAME)
    hubs.put(NAME, {**hubs.files[NAME], "old.txt": b"old", "config.json": b"{}"})
    second = hub.upload(prepared, NAME)
    assert "old.txt" not in hubs.files[NAME]
    assert len(hubs.files[NAME]["config.json"]) > 2
    assert hub.address(first).revision
    metafunc.load(second)


def test_a_revision_is_the_one_that_is_read(prepared: Path, hubs: Repositories) -> None:
    first = hub.upload(prepared, NAME)
    hubs.put(NAME, {"README.md": b""})
    metafunc.load(first)
    with pytest.raises(FileError, match=r"hf://user/machines holds no run: it has no config.json"):
        metafunc.load(f"hf://{NAME}")
    with pytest.raises(DataUnavailable, match="hf://user/machines@v9 cannot be read"):
        metafunc.load(f"hf://{NAME}@v9")


def edited(files: dict[str, bytes], name: str) -> dict[str, bytes]:
    config = json.loads(files["config.json"])
    config[name]["name"] = "os:system"
    return {**files, "config.json": json.dumps(config).encode()}


POISONED: dict[str, tuple[Callable[[dict[str, bytes]], dict[str, bytes]], str]] = {
    "a pickle": (lambda files: {**files, "model.PKL": b"cos\nsystem\n."}, "model.PKL can hold code"),
    "weights by pickle": (lambda files: {**files, "checkpoints/weights.pt": b""}, "weights.pt can hold code"),
    "a way out": (lambda files: {**files, "checkpoints/../../evil.json": b"{}"}, "leads out of the folder"),
    "a root": (lambda files: {**files, "/etc/evil.json": b"{}"}, "leads out of the folder"),
    "another system's": (lambda files: {**files, "figures\\..\\evil.png": b""}, "leads out of the folder"),
    "an algorithm to import": (lambda files: edited(files, "algorithm"), "algorithm is os:system"),
    "a network to import": (lambda files: edited(files, "model"), "model is os:system"),
    "damage": (
        lambda files: {**files, "env.json": files["env.json"].replace(b'"threads": 1', b'"threads": 7')},
        "not what",
    ),
}


@pytest.mark.parametrize("what", POISONED)
def test_a_poisoned_repository_is_refused(what: str, trained: Path, hubs: Repositories, tmp_path: Path) -> None:
    poison, said = POISONED[what]
    exported = export(trained, tmp_path / "exported")
    files = {str(file.relative_to(exported)): file.read_bytes() for file in exported.rglob("*") if file.is_file()}
    poisoned = poison(files)
    assert poisoned != files
    hubs.put(NAME, poisoned)
    with pytest.raises(FileError, match=said):
        metafunc.load(f"hf://{NAME}")
    assert not list(tmp_path.rglob("evil*"))


def test_other_files_are_not_fetched(prepared: Path, hubs: Repositories) -> None:
    address = hub.upload(prepared, NAME)
    hubs.put(NAME, {**hubs.files[NAME], "train.py": b"raise SystemExit"})
    metafunc.load(f"hf://{NAME}")
    assert not [line for line in hubs.asked if "train.py" in line or "README" in line or ".png" in line]
    assert hub.address(address).name == NAME


def test_modules_are_never_imported_from_there(trained: Path, hubs: Repositories, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="from there no module is imported"):
        metafunc.load(f"hf://{NAME}", imports=True)
    own = json.loads(json.dumps(CONFIG))
    assert not hubs.asked
    own["model"] = {"name": "net:net"}
    learner = algorithms.maml(nn.mlp((1,), 1, hidden=(4,)), likelihood.gaussian())
    recording = Recording(config=own)
    metafunc.fit(learner, data.sinusoid(), steps=1, num_tasks=2, out=tmp_path / "own", recording=recording)
    with pytest.raises(ValueError, match="net:net as its model, a module of yours"):
        push(tmp_path / "own", NAME)


@pytest.mark.parametrize("name", ["machines", "a/b/c", "user/../x", "user/ma chines"])
def test_names_that_no_repository_has(name: str, trained: Path, hubs: Repositories) -> None:
    with pytest.raises(ValueError, match="no name of a repository"):
        push(trained, name)
    assert not hubs.asked


def test_the_commands(
    trained: Path,
    hubs: Repositories,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "support.csv").write_text("x,y\n0,0\n1,0.5\n2,0.7\n")
    (tmp_path / "query.csv").write_text("x\n0.5\n1.5\n")
    assert command(["push", str(trained), NAME, "--json", "--license", "apache-2.0"]) == 0
    assert "license: apache-2.0" in hubs.files[NAME]["README.md"].decode()
    address = json.loads(capsys.readouterr().out)["address"]
    files = ["--support", "support.csv", "--query", "query.csv"]
    assert command(["predict", address, *files, "--out", "there.csv"]) == 0
    assert command(["predict", str(trained), *files, "--out", "here.csv"]) == 0
    assert (tmp_path / "there.csv").read_bytes() == (tmp_path / "here.csv").read_bytes()
    capsys.readouterr()
    for code, argv in (
        (3, ["predict", "hf://user/nothing", *files, "--out", "o.csv"]),
        (2, ["predict", "hf://nothing", *files, "--out", "o.csv"]),
        (2, ["predict", address, *files, "--out", "o.csv", "--imports"]),
        (2, ["eval", address]),
        (2, ["push", str(trained)]),
        (2, ["push", "nowhere", NAME]),
        (2, ["push", str(trained), "machines"]),
    ):
        assert command(argv) == code, argv
        said = capsys.readouterr().err
        assert len(said.strip().splitlines()) <= 2, said
        assert "Traceback" not in said


def test_a_hub_that_cannot_be_reached_is_said(
    trained: Path, hubs: Repositories, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(DataUnavailable, match=r"cannot be read.*HF_HUB_OFFLINE=1"):
        metafunc.load(f"hf://{NAME}")


def test_what_was_fetched_is_there_offline(prepared: Path, hubs: Repositories, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.upload(prepared, NAME)
    metafunc.load(f"hf://{NAME}")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    before = len(hubs.asked)
    metafunc.load(f"hf://{NAME}")
    assert len(hubs.asked) == before
