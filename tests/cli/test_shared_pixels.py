"""Two ranks that torchrun has started map one file of decoded pixels, and have the numbers of one process."""

import hashlib
import io
from collections.abc import Iterator
from pathlib import Path

import datasets
import numpy as np
import pytest
from PIL import Image

from .agents import Place, place

pytestmark = [pytest.mark.nightly, pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs /proc")]
OPTIONS = ("--standalone", "--nproc-per-node", "2")
PER_CLASS, CLASSES, SIDE = 4, 12, 16


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Place]:
    with place(tmp_path) as found:
        yield found


def images(file: Path) -> None:
    """A table of colour noise, whose classes are mixed."""
    generator, content = np.random.default_rng(0), []
    for _ in range(PER_CLASS * CLASSES):
        png = io.BytesIO()
        Image.fromarray(generator.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)).save(png, "PNG")
        content.append({"bytes": png.getvalue(), "path": None})
    features = datasets.Features(image=datasets.Image(), label=datasets.Value("int64"))
    labels = [row % CLASSES for row in range(len(content))]
    datasets.Dataset.from_dict({"image": content, "label": labels}, features=features).to_parquet(file)


def words(run: str, *more: str) -> list[str]:
    """The command of a training on them, which lasts a second or two."""
    data = ["--data.path", "images.parquet", "--data.fractions", "0.5", "0.25", "0.25", "--data.num-ways", "3"]
    sizes = ["--data.num-queries", "2", "--model", "mlp", "--model.hidden", "4", "--steps", "30", "--num-tasks", "4"]
    how = ["--shards", "2", "--compile", "off", "--test-tasks", "4", "--test-steps", "1", "--quiet"]
    return ["train", "slow:maml", "few_shot", *data, *sizes, *how, "--out", run, *more]


def test_ranks_map_one_file_and_have_the_numbers_of_one_process_with_pixels_in_memory(shared: Place) -> None:
    images(shared.folder / "images.parquet")
    cache = shared.folder / "pixels"
    shared.run(words("alone"), METAFUNC_PIXELS=str(cache))
    assert not cache.exists(), "which are too few for a file"
    agent = shared.start(OPTIONS, words("shared", "--data.memory-limit", "0"), METAFUNC_PIXELS=str(cache))

    def mapped() -> list[bool]:
        found = agent.workers().values()
        return [str(cache) in Path(f"/proc/{number}/maps").read_text() for number in found]

    shared.until(lambda: mapped() == [True, True], "two ranks that map the file")
    (file,) = cache.glob("*.npy")
    assert file.stat().st_size > PER_CLASS * CLASSES * 3 * SIDE**2
    written = file.stat().st_mtime_ns, hashlib.sha256(file.read_bytes()).hexdigest()
    assert agent.end() == 0
    assert [*cache.glob("*.npy")] == [file]
    assert (file.stat().st_mtime_ns, hashlib.sha256(file.read_bytes()).hexdigest()) == written
    assert shared.bits("shared") == shared.bits("alone")
