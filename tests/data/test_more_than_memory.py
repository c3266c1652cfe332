"""Data that are larger than memory: what a process has for itself stays small, whatever the data take.

What is measured is the resident memory that belongs to the process alone (RssAnon of Linux). A limit of the address
space (RLIMIT_AS) would count the map of a file as if it were in memory, and the resident set as a whole counts pages of
the file, which the system keeps as long as there is room, and which all processes share.
"""

import hashlib
import io
import multiprocessing
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from metafunc import tree
from metafunc.data import few_shot, generator_for

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs the memory figures of Linux")
SIZES = {"num_ways": 5, "num_shots": 1, "num_queries": 3, "fractions": (0.5, 0.25, 0.25)}
SIDE = 84
MOST = 100 * 2**20
"""Bytes of private memory that reading may take, whatever the data take."""


def draw(said, path, limits):
    """Say that a process has loaded what it needs, then its data's fingerprint and a sum of what is drawn from them."""
    few_shot(str(path.parent / "small.parquet"), image_size=4, **SIZES, **limits)
    said.send(None)
    family, found = few_shot(str(path), image_size=SIDE, **SIZES, **limits), hashlib.sha256()
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


def bitmaps(path, num_bytes, side):
    """A parquet file of random images, 50 in a row group, some of which a reader has in memory."""
    file = io.BytesIO()
    Image.new("RGB", (side, side)).save(file, "BMP")
    header, generator, at_once = file.getvalue()[:54], np.random.default_rng(0), 50
    features = datasets.Features(image=datasets.Value("binary"), label=datasets.Value("int64"))
    with parquet.ParquetWriter(path, features.arrow_schema) as writer:
        for first in range(0, -(-num_bytes // (3 * side * side)), at_once):
            images = [header + generator.bytes(3 * side * side) for _ in range(at_once)]
            labels = (np.arange(first, first + at_once) % 100).tolist()
            writer.write_table(pa.table({"image": images, "label": labels}, schema=features.arrow_schema))


def written(path, num_bytes):
    """Such a file, and a small one: by processes of their own, whose memory is gone when others begin."""
    for file, size, side in ((path, num_bytes, SIDE), (path.parent / "small.parquet", 24_000, 4)):
        writer = multiprocessing.get_context("fork").Process(target=bitmaps, args=(file, size, side))
        writer.start()
        writer.join()
    return path


def test_pixels_in_a_file_are_not_in_the_memory_of_their_process(tmp_path, monkeypatch):
    """A small version, in which reading takes some 40 MB, which differs by half from one process to another.

    The wrong twin has the pixels in memory as well.
    """
    monkeypatch.setenv("METAFUNC_PIXELS", str(tmp_path / "cache"))
    size = 256 * 2**20
    path = written(tmp_path / "data.parquet", size)
    twin, begun, most = drawing(path)
    assert most - begun > size
    for limits in ({"memory_limit": 0.0}, {"memory_limit": 0.0, "disk_limit": 0.0}):
        said, begun, most = drawing(path, **limits)
        assert said == twin
        assert most - begun < MOST, (limits, most - begun)


@pytest.mark.nightly
@pytest.mark.parametrize("store", ["file", "encoded"])
def test_three_gigabytes_under_a_limit_of_one(tmp_path, monkeypatch, store):
    monkeypatch.setenv("METAFUNC_PIXELS", str(tmp_path / "cache"))
    path = written(tmp_path / "data.parquet", 3 * 10**9)
    limits = {"file": {}, "encoded": {"disk_limit": 0.0}}[store]
    first, _, most = drawing(path, **limits)
    assert most < 10**9
    again, _, most = drawing(path, **limits)
    assert most < 10**9
    assert first == again
    assert len([*(tmp_path / "cache").glob("*.npy")]) == (store == "file")
