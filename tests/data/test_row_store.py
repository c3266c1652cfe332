"""Rows in memory, in a mapped file and encoded are the same tasks, whatever happens while the file is made."""

import multiprocessing
import os
import resource
import time
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from PIL import Image

from metafunc import tree
from metafunc.data import DataUnavailable, few_shot, generator_for, pixel_cache, row_store
from metafunc.data.encoded_rows import EncodedRows
from metafunc.data.reader import Reader, reader

SIZES = {"num_ways": 2, "num_shots": 1, "num_queries": 2, "fractions": (0.5, 0.25, 0.25)}
STORES = {
    "memory": {},
    "file": {"memory_limit": 0.0},
    "encoded": {"memory_limit": 0.0, "disk_limit": 0.0},
}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache of this test alone."""
    folder = tmp_path / "pixels of all"
    monkeypatch.setenv(pixel_cache.FOLDER, str(folder))
    return folder


def image_folder(root, classes=12, copies=4, side=6, seed=0):
    """Colour noise, in a folder for each class."""
    generator = np.random.default_rng(seed)
    for place in range(classes * copies):
        file = root / f"c{place % classes:03}" / f"{place // classes}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (side, side, 3), dtype=np.uint8)).save(file)
    return root


def table(folder, kind):
    """The same images as a parquet file, in two of them, saved to disk, or as the folder that they are."""
    if kind == "folder":
        return folder
    files = [str(file) for copy in range(4) for file in sorted(folder.rglob(f"{copy}.png"))]  # classes are mixed
    columns = {"image": [Path(file).read_bytes() for file in files], "label": [Path(f).parent.name for f in files]}
    target = folder.parent / kind
    if kind == "lists":
        columns["image"] = [np.asarray(Image.open(file)).tolist() for file in files]
        rows = datasets.Dataset.from_dict(
            columns, datasets.Features(image=datasets.Array3D((6, 6, 3), "uint8"), label=datasets.Value("string"))
        )
    else:
        columns["image"] = [{"bytes": content, "path": None} for content in columns["image"]]
        features = datasets.Features(image=datasets.Image(), label=datasets.Value("string"))
        rows = datasets.Dataset.from_dict(columns, features=features)
    if kind == "saved":
        rows.save_to_disk(str(target))
    else:
        target.mkdir()
        rows.select(range(30)).to_parquet(target / "all-0.parquet")
        rows.select(range(30, 48)).to_parquet(target / "all-1.parquet")
    return target


def draws(family):
    """Some tasks of each part."""
    parts = {"train": family.train, "validation": family.validation, "test": family.test}
    return [leaf for part, sample in parts.items() for leaf in tree.leaves(sample(generator_for(3, part, 5), 7))]


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(draws(one), draws(other), strict=True))


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("folder", {"image_size": 4, "channels": 1}),
        ("parquet", {"rotations": "all"}),
        ("saved", {"invert": True}),
        ("lists", {"invert": True}),
    ],
)
def test_the_tasks_and_the_fingerprint_are_those_of_rows_in_memory(tmp_path, cache, kind, options):
    path = str(table(image_folder(tmp_path / "images"), kind))
    families = {name: few_shot(path, **SIZES, **options, **limits) for name, limits in STORES.items()}
    for name in ("file", "encoded"):
        assert same(families[name], families["memory"]), name
        assert families[name].info == families["memory"].info
    assert len([*cache.glob("*.npy")]) == 1
    assert len([*cache.glob("*.arrow")]) == (kind != "saved")  # which is in Arrow files already
    again = few_shot(path, **SIZES, **options, **STORES["file"])
    assert same(again, families["memory"])


def test_a_wrong_order_is_not_the_same_tasks(tmp_path, monkeypatch):
    """The wrong twin: rows put where they come from instead of where they go."""
    path = str(table(image_folder(tmp_path / "images"), "parquet"))
    memory = few_shot(path, **SIZES)
    monkeypatch.setattr(row_store, "places", lambda order: order)
    wrong = few_shot(path, **SIZES, **STORES["file"])
    assert not same(wrong, memory)
    assert wrong.info["fingerprint"] != memory.info["fingerprint"]


def test_small_data_leave_no_file(tmp_path, cache):
    few_shot(str(image_folder(tmp_path / "images")), **SIZES)
    assert not cache.exists()


def test_a_disk_without_room_leaves_images_encoded(tmp_path, cache, monkeypatch):
    path = str(image_folder(tmp_path / "images"))
    monkeypatch.setattr(pixel_cache.Kept, "room", lambda self: 48 * 108)
    encoded = few_shot(path, **SIZES, memory_limit=0.0)
    assert not [*cache.glob("*.npy")]
    monkeypatch.setattr(pixel_cache.Kept, "room", lambda self: 2 * 48 * 108)
    decoded = few_shot(path, **SIZES, memory_limit=0.0)
    assert len([*cache.glob("*.npy")]) == 1
    assert same(encoded, decoded)
    monkeypatch.setattr(pixel_cache.Kept, "room", lambda self: 0)
    assert same(few_shot(path, **SIZES, memory_limit=0.0), decoded), "what is there needs no room"


@pytest.mark.parametrize("store", ["file", "encoded"])
def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, cache, store):
    """The system refuses to write beyond a limit, as it does where a disk is full."""
    path = str(image_folder(tmp_path / "images"))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, before[1]))
    try:
        with pytest.raises(DataUnavailable, match=r"The disk of .* is full .*folder on another one by METAFUNC_PIXELS"):
            few_shot(path, **SIZES, **STORES[store])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [file.suffix for file in cache.iterdir()] == [".lock"]
    assert same(few_shot(path, **SIZES, **STORES[store]), few_shot(path, **SIZES))


def test_a_folder_that_cannot_hold_the_file_is_named_with_its_variable(tmp_path, monkeypatch):
    path = str(image_folder(tmp_path / "images"))
    (tmp_path / "taken").write_text("")
    monkeypatch.setenv(pixel_cache.FOLDER, str(tmp_path / "taken"))
    with pytest.raises(DataUnavailable, match=r"taken cannot hold .* you may write to by METAFUNC_PIXELS"):
        few_shot(path, **SIZES, **STORES["file"])


def test_a_changed_image_is_noticed_even_with_its_old_size_and_time(tmp_path, cache):
    folder = image_folder(tmp_path / "images")
    before = few_shot(str(folder), **SIZES, **STORES["file"])
    first = draws(before)
    (known,) = cache.glob("*.npy")
    file = folder / "c000/0.png"
    old = file.stat()
    content = bytearray(file.read_bytes())
    other = Image.effect_noise((6, 6), 90).convert("RGB")
    other.save(file)
    file.write_bytes(file.read_bytes().ljust(len(content), b"\0")[: max(len(content), file.stat().st_size)])
    os.utime(file, ns=(old.st_atime_ns, old.st_mtime_ns))
    after = few_shot(str(folder), **SIZES, **STORES["file"])
    assert after.info["fingerprint"] == few_shot(str(folder), **SIZES).info["fingerprint"]
    assert after.info["fingerprint"] != before.info["fingerprint"]
    assert not known.exists(), "the old file is of no more use"
    assert all(torch.equal(a, b) for a, b in zip(first, draws(before), strict=True)), "who has it open goes on"
    assert few_shot(str(folder), **SIZES, **STORES["encoded"]).info["fingerprint"] == after.info["fingerprint"]


def test_an_image_that_changes_while_all_are_read_is_refused(tmp_path, cache, monkeypatch):
    folder = image_folder(tmp_path / "images")
    blocks = Reader.blocks

    def changing(self):
        yield from blocks(self)
        Image.new("RGB", (6, 6)).save(folder / "c000/0.png")

    monkeypatch.setattr(Reader, "blocks", changing)
    with pytest.raises(DataUnavailable, match="changed while they were read"):
        few_shot(str(folder), **SIZES, **STORES["file"])
    assert [file.suffix for file in cache.iterdir()] == [".lock"]


def test_a_file_that_was_cut_off_is_made_again(tmp_path, cache):
    path = str(image_folder(tmp_path / "images"))
    whole = few_shot(path, **SIZES, **STORES["file"])
    (file,) = cache.glob("*.npy")
    wanted = draws(whole)
    content = file.read_bytes()
    for left in (content[:-5], b""):
        file.unlink()
        file.write_bytes(left)
        with pytest.warns(UserWarning, match="is not what was written there, and is made again"):
            again = few_shot(path, **SIZES, **STORES["file"])
        assert all(torch.equal(a, b) for a, b in zip(wanted, draws(again), strict=True))
        assert file.read_bytes() == content


@pytest.mark.parametrize("store", ["file", "encoded"])
def test_a_damaged_image_is_named_before_any_task(tmp_path, cache, store):
    folder = image_folder(tmp_path / "images")
    (folder / "c003/2.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"Image 14 \(.*c003/2.png\) cannot be read"):
        few_shot(str(folder), **SIZES, **STORES[store])
    assert not [*cache.glob("*.npy"), *cache.glob("*.sum")]


def test_encoded_rows_are_decoded_alike_by_any_number_of_threads(tmp_path):
    path = str(image_folder(tmp_path / "images"))
    family, threads = few_shot(path, **SIZES, **STORES["encoded"]), torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = draws(family)
        torch.set_num_threads(3)
        assert all(torch.equal(a, b) for a, b in zip(alone, draws(family), strict=True))
    finally:
        torch.set_num_threads(threads)


def test_a_row_store_says_which_it_took(tmp_path):
    rows = datasets.Dataset.from_dict({"image": [[1, 2], [3, 4], [5, 6]]})
    order = np.array([2, 0, 1])
    limits = {name: {"memory_limit": 1.0, "disk_limit": None, **each} for name, each in STORES.items()}
    found = {name: row_store.stored(reader([rows], "image"), order, source="x", **limits[name]) for name in STORES}
    assert isinstance(found["encoded"].values, EncodedRows)
    assert found["memory"].kept is None
    for each in found.values():
        assert each.values.index_select(0, torch.arange(3)).tolist() == [[5, 6], [1, 2], [3, 4]]


def decode_in_another_process(path, said):
    """Make the family of a file of pixels, and tell whether that decoded images, and what it draws."""
    decode = Reader.decode

    def heard_of(self, cells, rows):
        if len(rows) > 1:
            said.send("decoding")
            time.sleep(0.02)
        return decode(self, cells, rows)

    Reader.decode = heard_of
    family = few_shot(path, **SIZES, **STORES["file"])
    said.send((family.info["fingerprint"], sum(leaf.double().sum().item() for leaf in draws(family))))


def heard(said):
    """All that a process says until it ends."""
    lines = []
    while said.poll(60):
        try:
            lines.append(said.recv())
        except EOFError:
            return lines
    raise AssertionError("the process hangs")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_of_two_processes_at_once_one_decodes_and_what_a_killed_one_left_is_swept(tmp_path, cache):
    path = str(image_folder(tmp_path / "images", classes=40, copies=8))
    context = multiprocessing.get_context("fork")

    def begin():
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=decode_in_another_process, args=(path, theirs))
        process.start()
        theirs.close()
        return process, ours

    killed, said = begin()
    assert said.recv() == "decoding"
    killed.kill()
    killed.join()
    assert [file for file in cache.iterdir() if ".unfinished." in file.name], "it was killed while it wrote"
    assert not [*cache.glob("[!.]*.npy")]
    both = [begin() for _ in range(2)]
    lines = [heard(said) for _, said in both]
    for process, _ in both:
        process.join()
    assert [process.exitcode for process, _ in both] == [0, 0]
    assert sorted(len(each) > 1 for each in lines) == [False, True], "one of them decodes"
    memory = few_shot(path, **SIZES)
    wanted = memory.info["fingerprint"], sum(leaf.double().sum().item() for leaf in draws(memory))
    assert [each[-1] for each in lines] == [wanted, wanted]
    assert not [file for file in cache.iterdir() if ".unfinished." in file.name]
