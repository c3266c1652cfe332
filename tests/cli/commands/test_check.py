"""`metafunc check`: what it finds in a module, a loss or a learner, and how it ends."""

import io
import json
import sys

import pytest
from metafunc_cli.__main__ import run
from metafunc_cli.commands import check as command
from rich.console import Console

MINE = """
import torch
from torch import nn
from metafunc import Batch, algorithms, likelihood
from metafunc.testing import network

class Wrong(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x):
        return x**3

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, cotangent):
        return cotangent * 3 * ctx.saved_tensors[0].detach() ** 2

class Cube(nn.Module):
    def forward(self, x):
        return Wrong.apply(x)

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)

    def forward(self, x):
        return self.last(torch.relu(self.norm(self.first(x))))

def wrong(num_outputs):
    return nn.Sequential(nn.Linear(3, 4), Cube(), nn.Linear(4, num_outputs))

class Shapeless(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(7))

    def forward(self, x):
        return x * self.weight

net, number = Net(), 3

def loss(params, batch):
    return (torch.tanh(batch.x @ params["w"]) - batch.y).square().mean()

def params():
    return {"w": torch.ones(3)}

batch = Batch(torch.ones(5, 3), torch.zeros(5))

def learner(model, likelihood):
    return algorithms.maml(model, likelihood, inner_lr=0.1, num_steps=2)

def recurrent():
    return nn.Sequential(nn.LSTM(3, 3))

def unfinished():
    network = nn.Linear(3, 2)
    network.weight.data[0, 0] = float("nan")
    return network

def raising():
    raise ZeroDivisionError("boom")

class Gambling(nn.Module):
    def __init__(self):
        super().__init__()
        self.last = nn.Linear(3, 2)

    def forward(self, x):
        import random
        return self.last(x) * random.random()

class Once(nn.Module):
    def __init__(self):
        super().__init__()
        self.last = nn.Linear(3, 2)

    def forward(self, x):
        return torch.cdist(self.last(x), torch.ones(4, 2, dtype=x.dtype))

class Cut(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(3, 2)
    def forward(self, x):
        return self.layer(x).detach()

class Single(Cut):
    def forward(self, x):
        h = self.layer(x).float()
        return (h * torch.rsqrt(h.square().mean(-1, keepdim=True) + 1e-6)).to(x.dtype)

def rows(params, batch):
    return (batch.x @ params["w"] - batch.y) ** 2

def lost(params, batch):
    return params["v"].sum()

def single(params, batch):
    return (batch.x @ torch.eye(3) @ params["w"]).sum()

def infinite(params, batch):
    return loss(params, batch) / 0

def whole():
    return {"w": torch.ones(3, dtype=torch.int64)}

def holed():
    return {"w": torch.full((3,), float("nan"))}

def learner_of_rows(model, likelihood):
    from dataclasses import replace
    right = learner(model, likelihood)
    return replace(right, task_loss=lambda meta, task: right.task_loss(meta, task)[None])
"""


OF_LOSS = ["--params", "mine:params", "--batch", "mine:batch"]


@pytest.fixture
def check(tmp_path, monkeypatch, capsys):
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "broken.py").write_text("nothing")
    (tmp_path / "needy.py").write_text("import no_such_package")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "mine", raising=False)

    def call(*argv):
        code = run(["check", *argv])
        return code, *capsys.readouterr()

    yield call
    sys.modules.pop("mine", None)


def test_a_right_module_passes_and_the_guess_is_said(check):
    code, out, err = check("mine:Net")
    assert code == 0
    assert "5 rows of shape 3." in out
    assert "Batch statistics are used" in out
    assert "autograd_loop" in out
    assert "second_derivative       holds" in err


def test_on_a_terminal_a_list_fills_and_goes_away(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    console = Console(force_terminal=True, width=60, file=io.StringIO())
    with command._showing(console, ["first", "second"], quiet=False) as on_check:
        for name in ("first", "second"):
            on_check(name)
            on_check(name, command.HOLDS)
    shown = console.file.getvalue()
    assert shown.count("holds") >= 2
    assert "0 left" in shown
    assert shown.endswith("\x1b[2K")  # The last thing that is done is to clear its line: the table takes its place.


def test_a_wrong_module_fails_and_the_part_is_named(check):
    code, out, _ = check("mine:wrong", "--quiet")
    assert code == 1
    assert "the submodule 1 (Cube), with the autograd.Function Wrong" in out
    assert "differentiable torch operations" in out
    assert "hvp_modes: not measured. An operation has no forward derivative" in out


def test_gradients_that_are_all_zero_are_no_success(check):
    code, out, _ = check("mine:Cut", "--quiet")
    assert code == 1
    assert "gradient: not measured. All gradients are exactly zero" in out
    assert "2 of 9 hold, 0 fail, 7 not measured." in out
    code, out, _ = check("mine:Cut", "--quiet", "--json")
    assert code == 1
    assert not json.loads(out)["holds"]


def test_a_forward_that_rounds_does_not_fail(check):
    code, out, _ = check("mine:Single", "--quiet", "--json")
    assert code == 0
    assert "rounds to float32" in out


def test_json_is_one_object_with_finite_numbers(check):
    code, out, err = check("mine:recurrent", "--json", "--quiet", "--input-shape", "3")
    assert code == 1
    found = json.loads(out)
    assert not found["holds"]
    assert found["identities"][0]["verdict"] == "fails"
    assert found["identities"][0]["error"] is None
    assert "LSTM" in err
    code, out, _ = check("mine:net", "--json", "--quiet")
    right = json.loads(out)
    assert (code, right["holds"]) == (0, True)
    assert {each["claim"] for each in right["identities"]} == {""}
    verdicts = [each["verdict"] for each in json.loads(check("mine:wrong", "--json", "--quiet")[1])["identities"]]
    assert {*verdicts} == {"holds", "fails", "not measured"}


def test_a_fix_fits_the_cause(check):
    code, out, _ = check("mine:Gambling", "--quiet")
    assert code == 1
    assert "pure_loss: The loss differs when it is computed a second time." in out
    assert "1 of 9 hold, 1 fail, 7 not measured." in out
    assert "backward" not in out
    code, out, _ = check("mine:Once", "--quiet")
    assert code == 1
    failed = [line for line in out.splitlines() if "NotImplementedError" in line]
    assert len(failed) >= 5
    assert all("torch has no second derivative of an operation" in line for line in failed)


def test_losses_learners_and_algorithms_are_checked_too(check):
    assert check("mine:loss", "--params", "mine:params", "--batch", "mine:batch", "--quiet")[0] == 0
    assert check("mine:learner", "--quiet")[0] == 0
    code, out, _ = check("protonet", "--quiet")
    assert code == 0
    assert "classification" in out


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["mine:Shapeless"], "--input-shape"),
        (["mine:Net", "--input-shape", "8"], "--input-shape"),
        (["mine:Net", "--input-shape", "a,b"], "3,32,32"),
        (["mine:number"], "int"),
        (["mine:missing"], "missing"),
        (["nowhere:net"], "nowhere"),
        (["mine:loss"], "--params and --batch"),
        (["mine:loss", "--params", "mine:params"], "--batch"),
        (["mamll"], "Did you mean 'maml'"),
        (["mine:unfinished"], "the parameter weight is not finite"),
        (["mine:raising"], "mine:raising raised ZeroDivisionError: boom"),
        (["broken:net"], "importing broken raised NameError: name 'nothing' is not defined"),
        (["needy:net"], "needy imports no_such_package, which is not installed"),
        (["mine:rows", *OF_LOSS], "this one is a tensor of shape (5,)"),
        (["mine:lost", *OF_LOSS], "It raised KeyError: 'v'"),
        (["mine:infinite", *OF_LOSS], "the loss is inf"),
        (["mine:single", *OF_LOSS], "and this batch in double precision. It raised RuntimeError"),
        (["mine:loss", "--params", "mine:whole", "--batch", "mine:batch"], "at w: a floating-point tensor is needed"),
        (["mine:loss", "--params", "mine:holed", "--batch", "mine:batch"], "The parameters at w are not finite"),
        (
            ["mine:learner", "--batch", "mine:batch"],
            "a metafunc.Task of stacked tasks, and this is a Batch",
        ),
        (["mine:learner_of_rows"], "this one is a tensor of shape (1,)"),
        (["maml", "--input-shape", "7"], "--input-shape changes nothing here"),
        (["mine:Net", "--batch", "mine:batch"], "--batch changes nothing here"),
        (["maml_rl"], "metafunc.testing.problems.expectations"),
    ],
)
def test_what_cannot_be_checked_is_a_usage_error(check, argv, message):
    code, _, err = check(*argv)
    assert code == 2
    assert message in err
