"""Every source of the same data gives the same episodes, and the hub is given up within seconds."""

import os
import socket
import subprocess
import sys

import datasets
import jaxtyping
import pandas
import pytest
import torch

from metafunc.data import DataUnavailable, few_shot, regression


@pytest.mark.parametrize(
    "data", [pandas.DataFrame({"task": ["a"]}), datasets.Dataset.from_dict({"label": ["a"]})], ids=["frame", "dataset"]
)
@pytest.mark.parametrize("family", [regression, few_shot])
def test_data_in_the_place_of_a_path_are_refused_with_what_to_do(monkeypatch, family, data):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # the tests' annotation hook would come first
    with pytest.raises(TypeError, match=rf"path is a {type(data).__name__}, .*write it to one first.*to_parquet"):
        family(data)


def test_a_stream_is_refused_with_what_to_do_instead(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    stream = datasets.Dataset.from_dict({"label": ["a"]}).to_iterable_dataset()
    for data, name in (
        (stream, "IterableDataset"),
        (datasets.IterableDatasetDict(train=stream), "IterableDatasetDict"),
    ):
        with pytest.raises(TypeError, match=rf"path is a {name}, .*a stream .*give the data set's name on the hub"):
            few_shot(data)


def test_every_kind_of_local_source_gives_the_same_episodes(tmp_path, pictures, image_table, draw_pixels):
    images, labels = pictures
    rows = image_table(images, labels)
    rows.to_parquet(tmp_path / "one.parquet")
    (tmp_path / "shards").mkdir()
    for shard in range(2):
        rows.shard(2, shard, contiguous=True).to_parquet(tmp_path / f"shards/train-0000{shard}-of-00002.parquet")
    rows.save_to_disk(str(tmp_path / "saved"))
    datasets.DatasetDict({"all": rows}).save_to_disk(str(tmp_path / "saved_dict"))
    for count, (image, label) in enumerate(zip(images, labels, strict=True)):
        (tmp_path / f"images/{label}").mkdir(parents=True, exist_ok=True)
        image.save(tmp_path / f"images/{label}/{count:03d}.png")
    draws = {name: draw_pixels(tmp_path / name) for name in ("one.parquet", "shards", "saved", "saved_dict", "images")}
    (_, expected), *others = draws.values()
    assert expected.shape == (20, 4, 1, 6, 6)
    assert all(torch.equal(expected, x) for _, x in others)
    assert len({family.info["fingerprint"] for family, _ in draws.values()}) == 1
    assert {round(v * 255) for v in expected.unique().tolist()} <= {255} | {20 * c + 5 for c in range(8)}


def test_an_image_folder_may_have_split_folders_and_classes_named_like_splits(tmp_path, pictures):
    images, labels = pictures
    for count, (image, label) in enumerate(zip(images, labels, strict=True)):
        part = ("train", "validation", "test")[label % 3]
        for folder in (
            tmp_path / f"split/{part}/c{label}",
            tmp_path / f"flat/{'train' if label == 0 else f'c{label}'}",
        ):
            folder.mkdir(parents=True, exist_ok=True)
            image.save(folder / f"{count}.png")
    split = few_shot(str(tmp_path / "split"), num_ways=2, num_queries=2)
    assert split.info["classes"] == {"train": 3, "validation": 3, "test": 2}
    flat = few_shot(str(tmp_path / "flat"), num_ways=1, num_queries=2)
    assert sum(flat.info["classes"].values()) == 8


@pytest.mark.parametrize("path", ["/nowhere/data", "./nowhere", "nowhere.parquet", "a/b/c"])
def test_a_missing_path_offers_three_ways_out(path):
    with pytest.raises(
        DataUnavailable, match=r"There is no file or folder(.|\n)*glyphs(.|\n)*--data.path(.|\n)*HF_HUB_OFFLINE"
    ):
        few_shot(path)


@pytest.mark.parametrize("content", [b"", b"not parquet"])
def test_a_broken_parquet_file_is_unavailable_data(tmp_path, content):
    (tmp_path / "broken.parquet").write_bytes(content)
    with pytest.raises(DataUnavailable, match="cannot be read as parquet"):
        few_shot(str(tmp_path / "broken.parquet"))


def test_an_empty_folder_is_unavailable_data(tmp_path):
    with pytest.raises(DataUnavailable, match="holds no parquet file"):
        few_shot(str(tmp_path))


ATTEMPT = """
import sys, time
import datasets  # Its own time depends on how busy the machine is.
from metafunc.data import DataUnavailable, few_shot
begin = time.perf_counter()
try:
    family = few_shot("someone/pictures", image_column="pixels", num_queries=2, num_ways=2, revision=sys.argv[1])
except DataUnavailable as error:
    print(error, time.perf_counter() - begin)
    sys.exit(3)
print(family.info["revision"], family.info["rows"])
"""


def attempt(endpoint, home, revision="main"):
    environment = os.environ | {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "PYTHONPATH": os.pathsep.join(sys.path)}
    environment.pop("HF_HUB_OFFLINE", None)
    environment |= {"no_proxy": "127.0.0.1", "NO_PROXY": "127.0.0.1"}
    command = [sys.executable, "-P", "-c", ATTEMPT, revision]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def warm_cache(tmp_path, table):
    """What `load_dataset("someone/pictures")` leaves behind."""
    folder = tmp_path / "datasets/someone___pictures/default/0.0.0" / COMMIT
    datasets.DatasetDict({"full": table()}).save_to_disk(str(tmp_path / "saved"))
    folder.mkdir(parents=True)
    (tmp_path / "saved/full/data-00000-of-00001.arrow").rename(folder / "pictures-full.arrow")
    info = datasets.DatasetInfo(
        features=table().features,
        builder_name="parquet",
        dataset_name="pictures",
        config_name="default",
        version="0.0.0",
        splits=[{"name": "full", "num_examples": 72, "dataset_name": "pictures"}],
    )
    info.write_to_directory(str(folder))
    return tmp_path


def test_a_hub_that_refuses_or_never_answers_is_given_up_within_seconds(tmp_path):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        for endpoint in ("http://127.0.0.1:9", f"http://127.0.0.1:{silent.getsockname()[1]}"):
            done = attempt(endpoint, tmp_path)
            assert done.returncode == 3, done.stderr
            assert "Traceback" not in done.stderr
            assert "does not answer" in done.stdout
            for way in ("glyphs", "--data.path", "HF_HUB_OFFLINE=1"):
                assert way in done.stdout
            assert float(done.stdout.split()[-1]) < 5, "seconds until the message"


def test_a_warm_cache_works_when_the_hub_does_not_answer(warm_cache):
    done = attempt("http://127.0.0.1:9", warm_cache)
    assert done.stdout.split() == [COMMIT, "72"], done.stderr
    other = attempt("http://127.0.0.1:9", warm_cache, "f" * 40)
    assert other.returncode == 3
    assert f"the cache holds {COMMIT}" in other.stdout


def test_importing_the_package_imports_no_heavy_library():
    heavy = {"datasets", "pandas", "matplotlib", "PIL", "pyarrow"}
    code = f"import sys, metafunc.data; print(sorted({heavy} & set(sys.modules)))"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.check_output([sys.executable, "-P", "-c", code], env=environment, text=True).strip() == "[]"
