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


def seen(tmp_path, image, *, channels=None, suffix=".png", **options):
    """The pixels of a drawing as a family has them, from 0 to 1: (channels, height, width)."""
    for name in range(6):
        for copy in range(2):
            file = tmp_path / f"{name}/{copy}{suffix}"
            file.parent.mkdir(exist_ok=True)
            image.save(file, **options)
    family = few_shot(str(tmp_path), num_ways=1, num_shots=1, num_queries=1, channels=channels)
    return family.train(torch.Generator().manual_seed(0), 1).support.x[0, 0]


def strokes(mode="RGBA", ground=(0, 0, 0, 0), ink=(0, 0, 0, 255)):
    image = Image.new(mode, (16, 16), ground)
    for place in range(8):
        image.putpixel((place, place), ink)
    return image


@pytest.mark.parametrize("kind", ["RGBA", "LA", "P", "RGB", "L", "1"])
@pytest.mark.parametrize("channels", [None, 1, 3])
def test_strokes_on_a_transparent_ground_lie_on_white(tmp_path, kind, channels):
    """Black on transparent black, in every way that a PNG file can say it: 248 of 256 pixels are white, 8 black."""
    image, options = strokes(), {}
    if kind == "LA":
        image = image.convert("LA")
    elif kind == "P":
        image = strokes("P", 1, 0)
        image.putpalette([0, 0, 0] * 2)
        options = {"transparency": 1}
    elif kind in ("RGB", "L", "1"):  # one colour stands for the transparent ground
        ground, ink = {"RGB": ((1, 0, 0), (0, 0, 0)), "L": (7, 0), "1": (1, 0)}[kind]
        image, options = strokes(kind, ground, ink), {"transparency": ground}
    pixels = seen(tmp_path, image, channels=channels, **options)
    assert pixels.shape[0] == (channels or (1 if kind in ("LA", "L", "1") else 3))
    for channel in pixels:
        assert (channel == 1).sum() == 248
        assert [channel[place, place].item() for place in range(8)] == [0] * 8


def test_what_is_half_transparent_is_between_its_colour_and_white(tmp_path):
    pixels = seen(tmp_path, Image.new("RGBA", (4, 4), (200, 100, 0, 51)))  # a fifth of the colour
    wanted = torch.tensor([0.2 * value + 0.8 * 255 for value in (200, 100, 0)]) / 255
    torch.testing.assert_close(pixels[:, 0, 0], wanted, rtol=0, atol=1 / 255)


def test_an_opaque_image_is_what_it_was(tmp_path):
    values = np.random.default_rng(0).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    opaque = np.concatenate([values, np.full((6, 6, 1), 255, np.uint8)], 2)
    pixels = seen(tmp_path, Image.fromarray(opaque))
    assert torch.equal((pixels * 255).round().byte(), torch.from_numpy(values.transpose(2, 0, 1).copy()))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photograph_is_upright_as_its_exif_data_say(tmp_path, orientation):
    """By numpy: how the stored rows and columns become those that are seen."""
    wanted = np.arange(24, dtype=np.uint8).reshape(4, 6) * 10
    stored = {
        1: wanted, 2: wanted[:, ::-1], 3: wanted[::-1, ::-1], 4: wanted[::-1],
        5: wanted.T, 6: np.rot90(wanted), 7: wanted[::-1, ::-1].T, 8: np.rot90(wanted, -1),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = seen(tmp_path, Image.fromarray(np.ascontiguousarray(stored)), exif=exif)
    assert torch.equal((pixels[0] * 255).round().byte(), torch.from_numpy(wanted))


@pytest.mark.parametrize("channels", [None, 1])
def test_no_ink_of_four_colours_is_white(tmp_path, channels):
    image = Image.new("CMYK", (8, 8), (0, 0, 0, 0))
    image.paste((0, 0, 0, 255), (0, 0, 8, 4))
    pixels = seen(tmp_path, image, channels=channels, suffix=".tif")
    assert (pixels[:, 4:] == 1).all()
    assert (pixels[:, :4] == 0).all()


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
        ([[1, 2]] * 9 + [[1, None]], "1 missing number;"),
        ([3] * 10, "holds int64; images or lists of numbers are needed"),
    ],
)
def test_unusable_numbers_are_refused(saved, pixels, message):
    path = saved(all=datasets.Dataset.from_dict({"pixels": pixels, "label": [i // 5 for i in range(10)]}))
    with pytest.raises(ValueError, match=message):
        few_shot(path, **VECTORS)
