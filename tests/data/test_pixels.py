"""A column of images or numbers becomes exact pixels, whatever its kind, or is refused."""

import datasets
import numpy as np
import pytest
import torch
from PIL import Image

from metafunc.data import few_shot

VECTORS = {"image_column": "pixels"}


def test_colour_grey_and_size(tmp_path, pictures, image_table, draw_pixels):
    images, labels = pictures
    colour = [image.convert("RGB") for image in images]
    image_table(colour[:20] + images[20:], labels).to_parquet(tmp_path / "mixed.parquet")
    family, x = draw_pixels(tmp_path / "mixed.parquet")
    assert family.input_shape == (3, 6, 6)
    assert torch.equal(x[:, :, 0], x[:, :, 2])
    _, y = draw_pixels(tmp_path / "mixed.parquet", channels=1)
    assert torch.equal(y[:, :, 0], x[:, :, 0])
    _, z = draw_pixels(tmp_path / "mixed.parquet", channels=1, invert=True)
    assert torch.allclose(z, 1 - y, atol=1e-6)
    small, _ = draw_pixels(tmp_path / "mixed.parquet", image_size=3)
    assert small.input_shape == (3, 3, 3)


def test_images_of_different_sizes_or_depths_are_refused(tmp_path, pictures, image_table):
    images, labels = pictures
    image_table([*images[:7], images[7].resize((9, 4)), *images[8:]], labels).to_parquet(tmp_path / "sizes.parquet")
    with pytest.raises(ValueError, match=r"Image 7 is 9 x 4 pixels, the first one 6 x 6. Give image_size=N"):
        few_shot(str(tmp_path / "sizes.parquet"))
    deep = Image.fromarray(np.full((6, 6), 4000, np.uint16))
    image_table([*images[:3], deep, *images[4:]], labels).to_parquet(tmp_path / "deep.parquet")
    with pytest.raises(ValueError, match=r"Image 3 has more than 8 bits"):
        few_shot(str(tmp_path / "deep.parquet"))


def test_a_broken_image_file_is_named(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/1.png").write_bytes(b"not an image")
    with pytest.raises(ValueError, match=r"Image 0 \(.*1.png\) cannot be read"):
        few_shot(str(tmp_path))


@pytest.mark.parametrize(
    ("feature", "cell", "image_size", "shape"),
    [
        (datasets.List(datasets.Value("uint8")), list(range(16)), 4, (1, 4, 4)),
        (datasets.List(datasets.Value("int64")), list(range(16)), None, (16,)),
        (datasets.List(datasets.Value("float32")), [0.5] * 16, None, (16,)),
        (datasets.List(datasets.Value("uint8")), list(range(48)), 4, (3, 4, 4)),
        (datasets.Array2D((4, 4), "uint8"), np.arange(16).reshape(4, 4).tolist(), None, (1, 4, 4)),
        (datasets.Array3D((4, 4, 3), "uint8"), np.arange(48).reshape(4, 4, 3).tolist(), None, (3, 4, 4)),
        (datasets.Array3D((3, 4, 4), "uint8"), np.arange(48).reshape(3, 4, 4).tolist(), None, (3, 4, 4)),
    ],
)
def test_lists_of_numbers(saved, feature, cell, image_size, shape, draw_pixels):
    rows = {"pixels": [cell] * 40, "label": [i // 5 for i in range(40)]}
    features = datasets.Features(pixels=feature, label=datasets.Value("int64"))
    path = saved(all=datasets.Dataset.from_dict(rows, features=features))
    options = {**VECTORS, "image_size": image_size, "num_shots": 2, "num_queries": 2, "num_ways": 1}
    family, x = draw_pixels(path, **options)
    assert family.input_shape == shape
    expected = np.asarray(cell, np.float32)
    expected = expected.transpose(2, 0, 1) if expected.shape == (4, 4, 3) else expected
    scale = 1 if "float" in str(feature) else 255
    assert np.allclose(x[0, 0].numpy() * scale, expected.reshape(shape), atol=1e-4)


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        ([[1, 2]] * 9 + [[1, 2, 3]], "differ in length"),
        ([[1, 2]] * 9 + [[1, 256]], "Row 9 of column 'pixels' holds an integer outside 0..255"),
        ([[1.0, 2.0]] * 4 + [[1.0, float("nan")]] * 6, "Row 4 of column 'pixels' holds a number that is not finite"),
        ([[1, 2]] * 9 + [[1, None]], "1 missing numbers"),
        ([3] * 10, "holds int64; images or lists of numbers are needed"),
    ],
)
def test_unusable_numbers_are_refused(saved, pixels, message):
    path = saved(all=datasets.Dataset.from_dict({"pixels": pixels, "label": [i // 5 for i in range(10)]}))
    with pytest.raises(ValueError, match=message):
        few_shot(path, **VECTORS)
