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
from metafunc.results.figures.style import LINE, captioned, save_each, spread


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


@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_every_format_is_the_same_each_time_and_says_what_it_is_of(tmp_path: Path, kind: str):
    def page() -> Any:
        return figures.adaptation_curves({"maml": by_step([4.0, 2.0])})

    first, second = (save_each(page(), tmp_path / each, "one", of="maml on sinusoid", formats=[kind]) for each in "ab")
    assert [path.name for path in first] == [f"one.{kind}"]
    assert first[0].read_bytes() == second[0].read_bytes()
    assert (
        save_each(page(), tmp_path / "c", "one", of="another", formats=[kind])[0].read_bytes() != first[0].read_bytes()
    )
    with pytest.raises(ValueError, match="a picture's format must be one of 'png', 'svg', 'pdf'"):
        figures.save(page(), tmp_path / "one.jpg")


def test_what_it_is_of_stands_below_the_subtitle_and_moves_nothing():
    before, after = (figures.adaptation_curves({"maml": by_step([4.0, 2.0])}) for _ in range(2))
    captioned(after, "maml on sinusoid, " * 6)
    for page in (before, after):
        page.draw_without_rendering()
    assert after.get_figheight() - before.get_figheight() == pytest.approx(2 * LINE)
    sizes = [page.axes[0].get_window_extent().height for page in (before, after)]
    assert sizes[1] == pytest.approx(sizes[0], abs=2)
    boxes = [text.get_window_extent() for text in after.subfigs[0].texts]
    assert all(upper.y0 > lower.y1 for upper, lower in itertools.pairwise(boxes))
    assert captioned(before, "").get_figheight() == before.get_figheight()


def test_a_line_that_ends_early_is_named_where_it_ends():
    page = figures.adaptation_curves({"maml": by_step([3.0, 2.0, 1.0, 1.0]), "alpaca": by_step([3.0, 2.0])})
    across = {text.get_text(): text.xy[0] for text in page.axes[0].texts}
    assert across["maml"] == 1
    assert across["alpaca"] == pytest.approx(1 / 3, abs=0.05)
