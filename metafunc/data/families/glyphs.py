"""Characters from the fonts that matplotlib ships: real images without a download.

A class is a character, an instance is a typeface's drawing of it, slightly rotated, slanted, scaled and moved.
Characters that most typefaces draw alike, such as the Latin, Greek and Cyrillic capital A, are one class.
"""

import functools
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from itertools import combinations
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from metafunc.checks import at_least
from metafunc.data.class_split import by_fractions
from metafunc.data.episodes import Rotations, classification
from metafunc.data.sampling import between, generator_for
from metafunc.data.shots import Shots, check_shots, most
from metafunc.recipe import built
from metafunc.types import TaskFamily

SIDE = 28
EM, CANVAS, BASELINE = 40, 56, 42
"""Characters are drawn at twice their final size, where a capital with its accent and a descender just fit."""
FOREIGN = ("LastResort", "cm")
"""The placeholder font has a box for every code point, and the TeX fonts (cmex10, ...) have codes of their own."""
MAX_ROTATION, MAX_SLANT, MAX_ZOOM, MAX_SHIFT = math.radians(12), 0.15, 0.12, 1.5
ABOUT = {
    "source": "fonts shipped with matplotlib",
    "ink": True,
    "licence": "Bitstream Vera and SIL Open Font Licence",
}


class Drawing(NamedTuple):
    """One typeface's drawing of a character, cut to its ink's width; black is 0."""

    pixels: bytes
    width: int


Drawings: TypeAlias = dict[int, dict[str, Drawing]]
"""By code point and typeface."""


@built
def glyphs(
    *,
    num_ways: int = 5,
    num_shots: Shots = 1,
    num_queries: int = 10,
    min_faces: int = 16,
    fractions: tuple[float, float, float] = (0.64, 0.16, 0.2),
    split_seed: int = 0,
    rotations: Rotations = "none",
    fixed_labels: bool = False,
) -> TaskFamily:
    """Episodes over characters of 28 x 28 pixels, with ink 1, drawn from the fonts that matplotlib ships.

    Args:
        num_ways: characters per task.
        num_shots: support drawings per character, a number or a range.
        num_queries: query drawings per character.
        min_faces: how many different drawings a character has at least: 16 leaves some 600 characters, 12 some 1,700.
        fractions: shares of the characters for training, validation and meta-test.
        split_seed: seed of the shuffle that `fractions` divides.
        rotations: whether rotations by 90, 180 and 270 degrees count as further characters: in no part, in training, or
            in all parts.
        fixed_labels: whether a character keeps one label in every task.

    Returns:
        A family with inputs (tasks, rows, 1, 28, 28) and labels (tasks, rows).

    Raises:
        ValueError: a task needs more drawings of a character than `min_faces`, or a part has too few characters.

    Examples:
        >>> import torch
        >>> tasks = glyphs(num_shots=1, num_queries=5).train(torch.Generator().manual_seed(0), 4)
        >>> tasks.query.x.shape
        torch.Size([4, 25, 1, 28, 28])
    """
    at_least(1, num_ways=num_ways, num_queries=num_queries)
    check_shots(0, num_shots=num_shots)
    at_least(most(num_shots) + num_queries, min_faces=min_faces)
    pixels, labels = rendered(min_faces)
    return classification(
        "glyphs",
        torch.from_numpy(pixels),
        by_fractions(labels, fractions, split_seed),
        num_ways=num_ways,
        num_shots=num_shots,
        num_queries=num_queries,
        rotations=rotations,
        fixed_labels=fixed_labels,
        info={"class_split": f"fractions {fractions}, seed {split_seed}", **ABOUT},
    )


@functools.cache
def rendered(min_faces: int) -> tuple[NDArray[np.uint8], list[str]]:
    """All drawings of all classes, and the class of each; the same on every call."""
    drawings = _drawn(min_faces)
    classes = {min(group): _different(drawings, group) for group in _alike(drawings)}
    kept = [
        (f"U+{c:04X}", drawing) for c, found in sorted(classes.items()) if len(found) >= min_faces for drawing in found
    ]
    # Rotation, slant, zoom, and two shifts.
    uniforms = torch.rand(len(kept), 5, dtype=torch.float64, generator=generator_for(0, "glyphs", 0))
    changes = between(uniforms, -1.0, 1.0).tolist()
    pixels = [_changed(drawing, *change) for (_, drawing), change in zip(kept, changes, strict=True)]
    return np.stack(pixels)[:, None], [name for name, _ in kept]


def _drawn(min_faces: int) -> Drawings:
    """Every character that at least `min_faces` typefaces have, as each of them draws it; blanks are left out."""
    import matplotlib
    from matplotlib.ft2font import FT2Font

    files = sorted(Path(matplotlib.get_data_path(), "fonts", "ttf").glob("*.ttf"))
    characters = {file: FT2Font(str(file)).get_charmap() for file in files if not file.name.startswith(FOREIGN)}
    common = Counter(code for charmap in characters.values() for code in charmap)
    drawings: Drawings = defaultdict(dict)
    for file, charmap in characters.items():
        for code, drawing in _in_face(file, sorted(code for code in charmap if common[code] >= min_faces)):
            drawings[code][file.stem] = drawing
    return drawings


def _in_face(file: Path, codes: Iterable[int]) -> Iterator[tuple[int, Drawing]]:
    from PIL import Image, ImageDraw, ImageFont

    # The basic layout engine is part of every build of Pillow.
    font = ImageFont.truetype(str(file), EM, layout_engine=ImageFont.Layout.BASIC)
    for code in codes:
        left, _, right, _ = font.getbbox(chr(code), anchor="ls")
        canvas = Image.new("L", (max(1, int(right - left)), CANVAS))
        ImageDraw.Draw(canvas).text((-left, BASELINE), chr(code), fill=255, font=font, anchor="ls")
        if canvas.getbbox() is not None:
            yield code, Drawing(canvas.tobytes(), canvas.width)


def _alike(drawings: Drawings) -> list[list[int]]:
    """Groups of characters that at least half of the typefaces that have both draw in the very same way."""
    same: dict[tuple[str, Drawing], list[int]] = defaultdict(list)
    for code, by_face in drawings.items():
        for face, drawing in by_face.items():
            same[face, drawing].append(code)
    shared = Counter(pair for codes in same.values() for pair in combinations(sorted(codes), 2))
    group = {code: [code] for code in drawings}
    for (first, second), count in sorted(shared.items()):
        if 2 * count >= len(drawings[first].keys() & drawings[second].keys()) and group[first] is not group[second]:
            merged = group[first] + group[second]
            group |= dict.fromkeys(merged, merged)
    return list({id(codes): codes for codes in group.values()}.values())


def _different(drawings: Drawings, group: Iterable[int]) -> list[Drawing]:
    """A group's drawings, each once, in a fixed order."""
    return list(dict.fromkeys(drawing for code in sorted(group) for _, drawing in sorted(drawings[code].items())))


def _changed(
    drawing: Drawing, rotation: float, slant: float, zoom: float, right: float, down: float
) -> NDArray[np.uint8]:
    """The drawing at its final size under a small affine change, its five numbers between -1 and 1."""
    from PIL import Image

    canvas = Image.frombytes("L", (drawing.width, CANVAS), drawing.pixels)
    # Pillow asks where in the canvas an output pixel comes from. Wide characters shrink until they fit.
    scale = max(CANVAS, drawing.width) / SIDE * math.exp(zoom * MAX_ZOOM)
    cos, sin = scale * math.cos(rotation * MAX_ROTATION), scale * math.sin(rotation * MAX_ROTATION)
    a, b, d, e = cos, cos * slant * MAX_SLANT - sin, sin, sin * slant * MAX_SLANT + cos
    x, y = SIDE / 2 + right * MAX_SHIFT, SIDE / 2 + down * MAX_SHIFT
    matrix = (a, b, drawing.width / 2 - a * x - b * y, d, e, CANVAS / 2 - d * x - e * y)
    return np.asarray(canvas.transform((SIDE, SIDE), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR))
