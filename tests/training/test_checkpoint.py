"""Checkpoints are whole or absent, whatever happens while they are written and whatever happens to them later."""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from metafunc import tree
from metafunc.training import checkpoint, manifest
from metafunc.training.checkpoint import CheckpointError

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.bool, torch.uint8]


class Pair(NamedTuple):
    left: Any
    right: Any


def tensors(step: int = 1) -> dict[str, Tensor]:
    return {"meta.w": torch.arange(6.0).reshape(2, 3) * step, "meta.b": torch.tensor(0.1 * step, dtype=torch.float64)}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(
        a.dtype == b.dtype and a.shape == b.shape and torch.equal(a, b)
        for a, b in ((first[name], second[name]) for name in first)
    )


@given(
    st.dictionaries(
        st.sampled_from("abcd"), st.tuples(st.lists(st.integers(0, 3), max_size=3), st.sampled_from(DTYPES))
    )
)
def test_what_is_saved_is_read(tmp_path_factory: pytest.TempPathFactory, shapes: dict[str, Any]) -> None:
    folder = tmp_path_factory.mktemp("run")
    whole = {name: torch.randint(0, 2, shape).to(dtype) for name, (shape, dtype) in shapes.items()}
    checkpoint.save(folder, 7, whole, {"pi": 3.141592653589793, "none": None})
    found, damaged = checkpoint.newest(folder)
    assert found is not None
    assert (found.step, found.state, damaged) == (7, {"pi": 3.141592653589793, "none": None}, [])
    assert same(found.tensors, whole)


def test_layout_and_sharing_do_not_matter(tmp_path: Path) -> None:
    base = torch.arange(12.0).reshape(3, 4)
    odd = {
        "transposed": base.T,
        "expanded": base[:1].expand(5, 4),
        "row": base[1],
        "again": base,
        "with gradient": base.requires_grad_(),
    }
    checkpoint.save(tmp_path, 1, odd, None)
    assert same(checkpoint.read(checkpoint.at(tmp_path, 1)).tensors, {name: t.detach() for name, t in odd.items()})


@given(st.data())
def test_any_flipped_bit_is_noticed(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("run")
    checkpoint.save(folder, 1, tensors(1), {"lr": 0.1})
    checkpoint.save(folder, 2, tensors(2), {"lr": 0.2})
    file = checkpoint.at(folder, 2) / data.draw(st.sampled_from(["manifest.json", "tensors.safetensors"]))
    content = bytearray(file.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= 1 << data.draw(st.integers(0, 7))
    meaning = file.read_bytes()
    file.write_bytes(content)
    found, damaged = checkpoint.newest(folder)
    if file.suffix == ".json" and _same_json(meaning, bytes(content)):  # a space became another space
        return
    assert found is not None
    assert found.step == 1
    assert same(found.tensors, tensors(1))
    assert "step-000000002" in damaged[0]


def test_a_flipped_bit_of_a_number_is_noticed_though_the_file_is_well_formed(tmp_path: Path) -> None:
    folder = checkpoint.save(tmp_path, 1, tensors(), None)
    file = folder / "tensors.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert not same(safetensors.torch.load(bytes(content)), tensors())
    with pytest.raises(CheckpointError, match="do not have the sum"):
        checkpoint.read(folder)


def _same_json(first: bytes, second: bytes) -> bool:
    try:
        return bool(json.loads(first) == json.loads(second))
    except ValueError:
        return False


@pytest.mark.parametrize("name", ["manifest.json", "tensors.safetensors"])
@pytest.mark.parametrize("keep", [None, 0, 0.5])
def test_what_is_cut_off_or_gone_is_passed_over(tmp_path: Path, name: str, keep: float | None) -> None:
    checkpoint.save(tmp_path, 1, tensors(), None)
    file = checkpoint.save(tmp_path, 2, tensors(2), None) / name
    if keep is None:
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[: int(keep * file.stat().st_size)])
    found, damaged = checkpoint.newest(tmp_path)
    assert found is not None
    assert found.step == 1
    assert len(damaged) == 1


class PowerCutError(Exception):
    """The machine stops here."""


def interruptions(monkeypatch: pytest.MonkeyPatch, at: int, error: Callable[[], BaseException]) -> None:
    """Let the given call to the file system fail, counted from 0 over all that writing a checkpoint makes."""
    count = iter(range(1000))

    def failing(function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **options: Any) -> Any:
            if next(count) == at:
                raise error()
            return function(*arguments, **options)

        return wrapped

    for owner, name in ((os, "fsync"), (Path, "open"), (Path, "mkdir"), (Path, "rename")):
        monkeypatch.setattr(owner, name, failing(getattr(owner, name)))


@pytest.mark.parametrize("at", range(12))
def test_a_write_that_stops_anywhere_leaves_a_whole_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    checkpoint.save(tmp_path, 1, tensors(1), None)
    with monkeypatch.context() as patch:
        interruptions(patch, at, PowerCutError)
        stopped = False
        try:
            checkpoint.save(tmp_path, 2, tensors(2), None)
        except PowerCutError:
            stopped = True
    found, damaged = checkpoint.newest(tmp_path)
    assert found is not None
    assert damaged == []
    assert same(found.tensors, tensors(found.step))
    assert stopped or found.step == 2
    assert stopped == (at < CALLS)
    checkpoint.save(tmp_path, 3, tensors(3), None)
    checkpoint.prune(tmp_path, [3])
    assert [entry.name for entry in tmp_path.iterdir()] == ["step-000000003"]


CALLS = 9
"""What writing takes: two folders, two files opened, both forced, the folder forced, the rename, the parent forced."""


@pytest.mark.parametrize("at", range(CALLS - 1))
def test_a_full_disk_leaves_the_last_checkpoint_and_no_rubbish(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    checkpoint.save(tmp_path, 1, tensors(1), None)
    with monkeypatch.context() as patch:
        interruptions(patch, at, lambda: OSError(28, "No space left on device"))
        with pytest.raises(OSError, match="No space left"):
            checkpoint.save(tmp_path, 2, tensors(2), None)
    assert [entry.name for entry in tmp_path.iterdir()] == ["step-000000001"]
    assert same(checkpoint.read(checkpoint.at(tmp_path, 1)).tensors, tensors(1))


def test_a_pickle_is_refused_and_not_run(tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    evil = b"cos\nsystem\n(S'touch " + str(witness).encode() + b"'\ntR."
    folder = checkpoint.save(tmp_path, 1, tensors(), None)
    (folder / "tensors.safetensors").write_bytes(evil)
    body = json.loads((folder / "manifest.json").read_text())
    del body["sha256"]
    body["tensors"] = hashlib.sha256(evil).hexdigest()
    digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps({"sha256": digest, **body}))
    with pytest.raises(CheckpointError, match="safetensors"):
        checkpoint.read(folder)
    assert not witness.exists()


def test_a_format_from_the_future_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(manifest, "FORMAT", 3)
        folder = checkpoint.save(tmp_path, 1, tensors(), None)
    with pytest.raises(CheckpointError, match="format 3"):
        checkpoint.read(folder)


def test_trees_come_back_in_their_structure() -> None:
    meta = Pair({"layer1.weight": torch.ones(2, 3), "b": torch.zeros(2)}, [torch.tensor(1.0), {"x": torch.ones(1)}])
    saved = {name: leaf + 1 for name, leaf in checkpoint.flatten(meta, "meta").items()}
    assert list(saved) == ["meta.left.layer1.weight", "meta.left.b", "meta.right.0", "meta.right.1.x"]
    back = checkpoint.restore(meta, saved, "meta")
    assert type(back) is Pair
    assert all(torch.equal(a, b + 1) for a, b in zip(tree.leaves(back), tree.leaves(meta), strict=True))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda saved: saved.pop("meta.b"), "meta.b is missing"),
        (lambda saved: saved.update({"meta.c": torch.ones(1)}), "meta.c is unknown"),
        (lambda saved: saved.update({"meta.b": torch.ones(3)}), r"meta.b is float32 \(3,\), not float32 \(2,\)"),
        (lambda saved: saved.update({"meta.b": torch.ones(2).double()}), "meta.b is float64"),
    ],
)
def test_parameters_of_another_learner_are_refused(change: Callable[[dict[str, Tensor]], Any], message: str) -> None:
    meta = {"a": torch.ones(1), "b": torch.ones(2)}
    saved = checkpoint.flatten(meta, "meta")
    assert tree.leaves(checkpoint.restore(meta, saved, "meta"))[1] is saved["meta.b"]
    change(saved)
    with pytest.raises(CheckpointError, match=message):
        checkpoint.restore(meta, saved, "meta")


def test_leaves_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match=r"'a\.b'"):
        checkpoint.flatten({"a.b": torch.ones(1), "a": {"b": torch.ones(1)}}, "meta")
