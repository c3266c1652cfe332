"""Whether the meta-gradients through a module can be trusted, and which of its parts is the cause where they cannot."""

import copy
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import Generator, Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.batchnorm import _NormBase

from metafunc.nn import from_module
from metafunc.testing.diagnosis.bisect import Cause, causes
from metafunc.testing.diagnosis.checklist import Checklist, Step, checks_of
from metafunc.testing.diagnosis.inputs import ROWS, Inputs, Numbers, inputs_of, random_tasks_of
from metafunc.testing.diagnosis.loss_checks import BITWISE
from metafunc.testing.diagnosis.loss_problem import LossProblem, generic
from metafunc.testing.numerics.report import RAISED, Report
from metafunc.types import Batch, Params, Scalar

PURE = "pure_module"
BUFFERS = "buffers"
LIMIT = 100_000_000
"""Parameters: some twenty copies in double precision are alive at a time, which is 16 GB for this many."""


def check_module(
    module: nn.Module, *, input_shape: tuple[int, ...] | None = None, numbers: Numbers | None = None
) -> list[Report]:
    r"""Check the meta-gradient through a module, by routes that share nothing, in double precision.

    $$\nabla_\theta \tfrac12 \textstyle\sum_i L\big(\theta - \alpha \nabla L(\theta; D_i^s);\, D_i^q\big)$$

    by metafunc (`nn.from_module` with batch statistics, under `vmap`) is compared with a Python loop over the module
    itself by `torch.autograd`, and with differences. Nothing dense is formed; a ResNet-18 takes less than a minute.

    Args:
        module: takes one tensor (n, ...) and returns one; it is left as it is. One that draws random numbers in
            training is checked in `eval()`.
        input_shape: of a row, without the batch axis; None: `module.example_input`, or what its first layers take.
        numbers: "float" or "int" inputs; None: floats if a forward takes them.

    Returns:
        One report per identity. The claim of one that fails names the failing submodules and a fix.

    Raises:
        TypeError: if it is no module.
        ValueError: if no input is found that a forward takes, a parameter is not finite, or the module is too large to
            be checked.

    Examples:
        >>> import torch
        >>> from metafunc.testing import check_module
        >>> net = torch.nn.Sequential(torch.nn.Linear(2, 4), torch.nn.LayerNorm(4), torch.nn.Linear(4, 1))
        >>> all(report.holds for report in check_module(net))
        True
    """
    return examine_module(module, input_shape=input_shape, numbers=numbers).run()


def examine_module(
    module: nn.Module, *, input_shape: tuple[int, ...] | None = None, numbers: Numbers | None = None
) -> Checklist:
    """The checks of `check_module`, to be run one by one; arguments and errors are the same."""
    if not isinstance(module, nn.Module):
        raise TypeError(f"a torch.nn.Module is needed, and this is a {type(module).__name__}.")
    size = sum(leaf.numel() for leaf in module.parameters() if not nn.parameter.is_lazy(leaf))
    if size > LIMIT:
        raise ValueError(
            f"the module has {size:,} parameters, and checking more than {LIMIT:,} takes too much memory: check a "
            "narrower or shallower one that is made of the same layers."
        )
    own, notes = copy.deepcopy(module).double(), []
    for name, leaf in own.named_parameters():
        if not nn.parameter.is_lazy(leaf) and not leaf.isfinite().all():
            raise ValueError(f"the parameter {name} is not finite: nothing can be differentiated there.")
    if refused := _refusal(own):
        calm = copy.deepcopy(own).eval()
        if _refusal(calm):
            return _refused(refused)
        own = calm
        notes.append(f"Checked in eval(): {refused}")
    inputs = inputs_of(copy.deepcopy(own).eval(), input_shape=input_shape, numbers=numbers)
    notes.append(f"Inputs: {ROWS} rows of shape {inputs}.")
    if any(isinstance(part, _NormBase) for part in own.modules()):
        notes.append('Batch statistics are used: from_module(module, batch_norm="batch").')
    _move(own)
    try:
        problem, x = _problem_of(own, inputs)
    except ValueError as error:
        return _refused(str(error))
    statistics_free = _without_running_statistics(own)

    def locate(check: Callable[[LossProblem], Report], raised: bool) -> list[Cause]:
        return causes(statistics_free, x, lambda part: _breaks(check, part, raised))

    buffers = Step(BUFFERS, "The forward leaves the buffers as they were.", partial(_buffers, statistics_free, x))
    return Checklist(tuple(notes), (buffers, *checks_of(problem, locate)))


def _refusal(module: nn.Module) -> str:
    try:
        from_module(module, batch_norm="batch", reset=False)
    except ValueError as error:
        return str(error)
    return ""


def _refused(message: str) -> Checklist:
    report = Report(PURE, float("inf"), 0.0, "What cannot be a pure function is refused.", "", message)
    return Checklist((), (Step(PURE, "The module can be a pure function.", lambda: report),))


def _move(module: nn.Module) -> None:
    floating = [leaf for leaf in module.parameters() if leaf.requires_grad]
    with torch.no_grad():
        for leaf, moved in zip(floating, generic(floating, Generator().manual_seed(0)), strict=True):
            leaf.copy_(moved)


def _without_running_statistics(module: nn.Module) -> nn.Module:
    module = copy.deepcopy(module)
    for part in module.modules():
        if isinstance(part, _NormBase):
            part.track_running_stats = False
            part.running_mean = part.running_var = part.num_batches_tracked = None
    return module


def _problem_of(module: nn.Module, inputs: Inputs) -> tuple[LossProblem, Tensor]:
    model = from_module(module, batch_norm="batch", reset=False)
    params = model.init(Generator())
    generator = Generator().manual_seed(0)
    x = inputs.draw(ROWS, generator)
    tasks = random_tasks_of(inputs, tuple(model.apply(params, x).shape), generator)
    ordinary = _without_running_statistics(module).requires_grad_(False)

    def loss(params: Params, batch: Batch, /) -> Scalar:
        return (model.apply(params, batch.x) - batch.y).square().mean()

    def plain(params: Params, batch: Batch, /) -> Scalar:
        buffers = {name: leaf.clone() for name, leaf in ordinary.named_buffers()}
        with sdpa_kernel(SDPBackend.MATH):
            output: Tensor = functional_call(ordinary, {**buffers, **params}, (batch.x,))
        return (output - batch.y).square().mean()

    problem = LossProblem(loss, plain, params, tasks)
    try:
        problem.hessian_along  # noqa: B018  # It is kept.
    except RuntimeError:
        # What torch itself cannot differentiate twice, such as hardsigmoid, metafunc replaces: then the loop does too.
        problem = replace(problem, plain=loss)
    return problem, x


def _breaks(check: Callable[[LossProblem], Report], problem: LossProblem, raised: bool) -> bool:
    """Whether a part fails as the whole does: by an error if the whole raised one."""
    try:
        holds = check(problem).holds
    except RAISED:
        return raised
    return not raised and not holds


def _buffers(module: nn.Module, x: Tensor) -> Report:
    module = copy.deepcopy(module)
    before = {name: leaf.clone() for name, leaf in module.named_buffers()}
    with torch.no_grad():
        module(x)
    after = dict(module.named_buffers())
    changed = [name for name in before if not torch.equal(before[name], after[name])]
    claim = f"The forward changes the buffers {', '.join(changed)}: call .eval() first, or pass state in as an input."
    return Report(BUFFERS, float(len(changed)), 0.0, BITWISE, changed[0] if changed else "", claim if changed else "")
