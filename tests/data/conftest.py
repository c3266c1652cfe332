"""Class-labelled data that several tests share. Nothing of metafunc is imported before a test asks for it."""

import itertools

import datasets
import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def table():
    """Makes a table with a class-coded vector per row, in a scrambled order."""

    def make_table(num_classes=12, per_class=6, **columns):
        pairs = [(c, i) for i in range(per_class) for c in range(num_classes)]
        base = {"pixels": [[c, i, 7, 9] for c, i in pairs], "label": [c for c, _ in pairs]}
        return datasets.Dataset.from_dict(base | {name: [make(c) for c, _ in pairs] for name, make in columns.items()})

    return make_table


@pytest.fixture
def saved(tmp_path):
    """Saves data sets to parquet, and returns the folder."""

    def save(**splits):
        for name, dataset in splits.items():
            dataset.to_parquet(tmp_path / f"{name}.parquet")
        return str(tmp_path)

    return save


@pytest.fixture
def pictures():
    """8 classes of 5 small grey pictures: class c is brightness 20 c + 5, with one white pixel at place i."""
    images, labels = [], []
    for c, i in itertools.product(range(8), range(5)):
        pixels = np.full((6, 6), 20 * c + 5, np.uint8)
        pixels[0, i] = 255
        images.append(Image.fromarray(pixels))
        labels.append(c)
    return images, labels


@pytest.fixture
def image_table():
    """Makes a table of images and labels."""

    def make_table(images, labels):
        features = datasets.Features(image=datasets.Image(), label=datasets.Value("int64"))
        return datasets.Dataset.from_dict({"image": images, "label": labels}, features=features)

    return make_table


@pytest.fixture
def draw_pixels():
    """A family of few-shot tasks of a source, and the query inputs of some of its training tasks."""
    from metafunc.data import few_shot, generator_for

    def draw(path, **options):
        sizes = {"num_ways": 2, "num_shots": 2, "num_queries": 2, "fractions": (0.5, 0.25, 0.25)}
        family = few_shot(str(path), **(sizes | options))
        return family, family.train(generator_for(0, "train", 0), 20).query.x

    return draw
