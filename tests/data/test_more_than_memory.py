"""Data that are larger than memory: what a process has for itself stays small, whatever the data take.

What is measured is the resident memory that belongs to the process alone (RssAnon of Linux). A limit of the address
space (RLIMIT_AS) would count the map of a file as if it were in memory, and the resident set as a whole counts pages of
the file, which the system keeps while nobody else needs them and which all processes share.
"""

import hashlib
import multiprocessing
from pathlib import Path

import datasets
import numpy as np
import PIL.Image  # noqa: F401 - so that its memory is not counted
import pyarrow as pa
import pytest
from pyarrow import parquet

from metafunc import tree
from metafunc.data import few_shot, generator_for

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs the memory figures of Linux")
SIZES = {"num_ways": 5, "num_shots": 1, "num_queries": 3, "fractions": (0.5, 0.25, 0.25), "image_size": 84}


def draw(said, path, limits):
    """Say that a process is there, then its data's fingerprint and a sum of what is drawn from them."""
    said.send(None)
    family, found = few_shot(str(path), **SIZES, **limits), hashlib.sha256()
    for step in range(3):
        for leaf in tree.leaves(family.train(generator_for(0, "train", step), 2)):
            found.update(leaf.contiguous().numpy().data)
    said.send((family.info["fingerprint"], found.hexdigest()))


def private(process):
    """Bytes of resident memory that belong to a process alone."""
    try:
        lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon:"))


def drawing(path, **limits):
    """What a process says that draws tasks, and its private memory: in the beginning, and at most."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=draw, args=(theirs, path, limits))
    process.start()
    theirs.close()
    ours.recv()
    begun = most = private(process)
    while not ours.poll(0.002):
        most = max(most, private(process))
    said = ours.recv()
    process.join()
    return said, begun, most


def lists(path, num_bytes, side=84):
    """A parquet file of random pixels, written a few at a time: as lists, which take no time to decode."""
    generator = np.random.default_rng(0)
    features = datasets.Features(image=datasets.List(datasets.Value("uint8")), label=datasets.Value("int64"))
    row, at_once = 3 * side * side, 500
    with parquet.ParquetWriter(path, features.arrow_schema) as writer:
        for first in range(0, -(-num_bytes // row), at_once):
            values = pa.array(generator.integers(0, 256, row * at_once, dtype=np.uint8))
            images = pa.ListArray.from_arrays(np.arange(0, row * at_once + 1, row, dtype=np.int32), values)
            labels = pa.array((np.arange(first, first + at_once) % 100).astype(np.int64))
            writer.write_table(pa.table([images, labels], schema=features.arrow_schema))
    del values, images
    pa.default_memory_pool().release_unused()  # or those who begin here would begin with it
    return path


def test_a_file_of_pixels_is_not_in_the_memory_of_its_process(tmp_path, monkeypatch):
    """A small version: 32 MB, of which half may be in memory. The wrong twin has all of it there."""
    monkeypatch.setenv("METAFUNC_PIXELS", str(tmp_path / "cache"))
    path, size = lists(tmp_path / "data.parquet", 32 * 2**20), 32 * 2**20
    for limits in ({"memory_limit": 0.0}, {"memory_limit": 0.0, "disk_limit": 0.0}):
        said, begun, most = drawing(path, **limits)
        assert most - begun < size / 2, limits
    twin, begun, most = drawing(path)
    assert most - begun > size, "what is in memory is seen"
    assert said == twin


@pytest.mark.nightly
@pytest.mark.parametrize("store", ["file", "encoded"])
def test_three_gigabytes_under_a_limit_of_one(tmp_path, monkeypatch, store):
    monkeypatch.setenv("METAFUNC_PIXELS", str(tmp_path / "cache"))
    path = lists(tmp_path / "data.parquet", 3 * 10**9)
    limits = {"file": {}, "encoded": {"disk_limit": 0.0}}[store]
    first, _, most = drawing(path, **limits)
    assert most < 10**9
    again, _, most = drawing(path, **limits)
    assert most < 10**9
    assert first == again
    assert len([*(tmp_path / "cache").glob("*.npy")]) == (store == "file")
