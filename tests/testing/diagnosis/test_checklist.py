"""Checks of a user-supplied loss: a right one passes, and the cause of a wrong one is named."""

import torch

from metafunc.testing import examine_loss
from metafunc.types import Batch

from ..wrong_functions import WrongTwice


def wrong_loss(params, batch):
    return (WrongTwice.apply(batch.x @ params["w"]) - batch.y).square().mean()


def right_loss(params, batch):
    return (torch.tanh(batch.x @ params["w"]) - batch.y).square().mean()


def test_a_loss_is_checked_and_its_wrong_function_named():
    torch.manual_seed(0)
    params, batch = {"w": torch.randn(3)}, Batch(torch.randn(5, 3), torch.randn(5))
    reports = examine_loss(right_loss, params, batch).run()
    assert all(report.holds for report in reports)
    assert {"one_step", "meta_sgd", "autograd_loop"} <= {report.identity for report in reports}
    found = {report.identity: report.claim for report in examine_loss(wrong_loss, params, batch).run()}
    assert "(wrong_loss), with the autograd.Function WrongTwice" in found["second_derivative"]
