"""The report of choices: whose intervals are over tasks, and whose ranks are of single runs."""

import pytest
import torch

from metafunc.evaluation import metrics
from metafunc.results import decisions

SOURCE = torch.Generator().manual_seed(0)


def test_episodes_of_few_tasks_are_no_more_than_these_tasks() -> None:
    which = torch.arange(48)[:, None] % 4
    of_task = torch.randn(4, generator=SOURCE, dtype=torch.float64)[which]
    own = of_task + 0.1 * torch.randn(48, 1, generator=SOURCE, dtype=torch.float64)
    other = 2 * of_task + 0.1 * torch.randn(48, 1, generator=SOURCE, dtype=torch.float64)
    apart = decisions.report({"a": own, "b": other}, groups=which)
    alone = decisions.report({"a": own, "b": other})
    point = apart[1]["curve"][0]
    assert point["ci95"] == pytest.approx(metrics.half_width([other.mT], which))
    assert point["ci95"] > 3 * alone[1]["curve"][0]["ci95"]
    half = metrics.half_width([other.mT, -own.mT], which)
    assert point["difference"]["high"] - point["difference"]["low"] == pytest.approx(2 * half)
    assert decisions.report({"a": own}, groups=0 * which)[0]["curve"][0]["ci95"] is None, "one task has no spread"
