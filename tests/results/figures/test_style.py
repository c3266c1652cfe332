"""Labels keep their distance, and saving and drawing leave matplotlib as it was."""

import itertools
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metafunc.results import figures
from metafunc.results.figures.style import spread


def by_step(means: list[float | None], metric: str = "mse") -> list[dict[str, Any]]:
    half = [None if mean is None else 0.1 * mean for mean in means]
    return [
        {"step": k, metric: {"mean": mean, "ci95": half[k], "median": None if mean is None else 0.5 * mean}}
        for k, mean in enumerate(means)
    ]


heights = st.lists(st.floats(-10, 10), min_size=1, max_size=8).map(sorted)


@given(heights, st.floats(0.01, 5))
def test_labels_keep_their_distance_and_their_order(wanted, gap):
    placed = spread(wanted, gap)
    assert all(b - a >= gap - 1e-9 for a, b in itertools.pairwise(placed))
    # Least squares: no small move of a touching group, up or down, brings the labels nearer to where they should be.
    assert sum(placed) == pytest.approx(sum(wanted))
    cost = sum((a - b) ** 2 for a, b in zip(placed, wanted, strict=True))
    for cut in range(len(placed)):
        for move in (1e-6, -1e-6):
            moved = [p + move * ((i >= cut) if move > 0 else (i <= cut)) for i, p in enumerate(placed)]
            assert sum((a - b) ** 2 for a, b in zip(moved, wanted, strict=True)) >= cost - 1e-8


def test_labels_that_do_not_touch_stay():
    assert spread([0.0, 2.0, 5.0], gap=1.0) == [0.0, 2.0, 5.0]
    assert spread([0.0, 0.5, 5.0], gap=1.0) != [0.0, 0.5, 5.0]


def test_saved_pictures_are_sharp_and_the_same_every_time(tmp_path: Path):
    page = figures.adaptation_curves({"maml": by_step([4.0, 2.0]), "anil": by_step([4.0, 1.0], "nll")})
    first, second = (figures.save(page, tmp_path / "new" / f"{i}.png").read_bytes() for i in range(2))
    assert first == second
    assert int.from_bytes(first[16:20], "big") == 1600, "the width in a PNG's header"
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["0.png", "1.png"]


def test_matplotlib_keeps_its_settings_and_its_interactive_half_is_not_imported():
    # Read as a plain dictionary: asking matplotlib itself for its backend is what would import the interactive half.
    code = (
        "import metafunc.results.figures as figures, sys; assert 'matplotlib' not in sys.modules\n"
        "import matplotlib; now = lambda: {k: dict.__getitem__(matplotlib.rcParams, k) for k in matplotlib.rcParams}\n"
        "before = now(); figures.learning_curve([{'step': k, 'loss': 1 / k} for k in range(1, 60)])\n"
        "assert now() == before and 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
