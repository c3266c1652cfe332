"""Any `torch.nn.Module` as a model: two pure functions whose second-order gradients are exact."""

import copy
from typing import Literal, TypeAlias, get_args

import torch
from torch import Generator, Tensor, nn
from torch.nn.modules import batchnorm
from torch.nn.utils import parametrize

from metafunc.checks import one_of
from metafunc.nn import module_attributes, module_rules, module_trial
from metafunc.nn.functional import Functional
from metafunc.types import Model, Normalisation, Params

BatchNorm: TypeAlias = Literal["refuse", "batch"]


def from_module(
    module: nn.Module, *, batch_norm: BatchNorm = "refuse", reset: bool = True, example_input: Tensor | None = None
) -> Model:
    r"""Turn a module into the pure functions `init` and `apply`.

    $$f(\theta, x) = \texttt{module}(x) \;\text{ with its parameters replaced by } \theta$$

    Parameters that require a gradient become leaves under their dotted names (shared ones once). Buffers and frozen
    parameters are constants, copied now; the module itself is never changed. So a module in `eval()` normalises by its
    running statistics and drops nothing out. While `apply` runs, operations whose second derivative torch 2.13 gets
    wrong under `vmap`, or lacks, are replaced by exact ones: `layer_norm`, `batch_norm`, `instance_norm`, `embedding`,
    attention, `hardsigmoid`. Operations reached by other routes than `torch.nn.functional` are not replaced, so try
    `example_input` once on a module with functions of its own.

    Args:
        module: takes one tensor (n, ...) and returns one, (n, outputs).
        batch_norm: `refuse` raises an error for normalisations that are about to update running statistics; `batch`
            makes every batch (and instance) normalisation use the statistics of the batch at hand, also in `eval()`,
            and the model is recorded as `transductive`.
        reset: whether `init` calls the `reset_parameters` of every submodule, inner ones first, on a copy and under
            a random state of its own. What has no such method, or is parametrised, keeps its present values, as does
            everything with `reset=False`: the choice for a pre-trained module.
        example_input: rows (n, ...), at least two, to try the module on now: an operation that is random, has no second
            derivative or a wrong one, or a parameter without effect then raises here and not in the first step; `fit`
            tries the module on its first tasks in any case. It costs a few gradients.

    Returns:
        The model. Its `apply` takes exactly the leaves that `init` returns. As it fills them into one copy of the
        module, it must not run in two threads at once.

    Raises:
        ValueError: a submodule cannot be a pure function with second derivatives; the message names it, and what
            to use instead.

    Examples:
        >>> import torch
        >>> from metafunc import nn
        >>> net = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.LayerNorm(8), torch.nn.Linear(8, 1))
        >>> model = nn.from_module(net)
        >>> params = model.init(torch.Generator().manual_seed(0))
        >>> model.apply(params, torch.zeros(5, 2)).shape
        torch.Size([5, 1])
    """
    one_of(batch_norm, get_args(BatchNorm), "batch_norm")
    module_rules.refuse(module, batch_norm=batch_norm)
    names = tuple(name for name, leaf in module.named_parameters() if leaf.requires_grad)
    frozen = module_attributes.copied(module).requires_grad_(False)
    _leave_fast_path(frozen)
    if batch_norm == "batch":
        _drop_running_statistics(frozen)
    batched = batch_norm == "batch" or any(_uses_batch(part) for part in frozen.modules())
    functional = Functional(frozen, names, batch_statistics=batched)
    if example_input is not None:
        module_trial.try_out(functional, module_trial.own_inputs(_as_parameters(example_input, functional)))

    def init(generator: Generator) -> Params:
        if not reset:
            return functional.params()
        fresh = copy.deepcopy(frozen)
        _reset(fresh, generator)
        own = dict(fresh.named_parameters())
        return {name: own[name].detach().clone() for name in names}

    normalisation: Normalisation = "transductive" if batched else "none"
    return Model(init, functional.apply, normalisation=normalisation)


def _as_parameters(x: Tensor, functional: Functional) -> Tensor:
    dtype = next(iter(functional.params().values())).dtype
    return x.to(dtype) if x.is_floating_point() else x


def _leave_fast_path(module: nn.Module) -> None:
    """Keep attention off the fused inference kernels, which `eval()` modules enter when they are compiled.

    For these two classes themselves the training flag means nothing else once the dropout is zero; the submodules of a
    layer keep their own.
    """
    for part in module.modules():
        if type(part) is nn.MultiheadAttention:
            part.dropout = 0.0
            part.training = True
        if type(part) is nn.TransformerEncoderLayer:
            part.training = True


def _drop_running_statistics(module: nn.Module) -> None:
    for part in module.modules():
        if isinstance(part, batchnorm._NormBase):
            part.track_running_stats = False
            part.running_mean = part.running_var = part.num_batches_tracked = None


def _uses_batch(part: nn.Module) -> bool:
    return isinstance(part, batchnorm._BatchNorm) and part.running_mean is None


def _reset(module: nn.Module, generator: Generator) -> None:
    """Redraw all that knows how to, children before parents as in construction, and leave the global state alone."""
    seed = int(torch.randint(2**63 - 1, (), generator=generator, device=generator.device))
    devices = sorted({leaf.device.index for leaf in module.parameters() if leaf.is_cuda})
    with torch.random.fork_rng(devices=devices):
        torch.default_generator.manual_seed(seed)
        for device in devices:
            torch.cuda.default_generators[device].manual_seed(seed)
        for part in reversed(list(module.modules())):
            # Attention calls its method by a private name. A reset cannot reach through a parametrisation.
            redraw = getattr(part, "reset_parameters", getattr(part, "_reset_parameters", None))
            if redraw is not None and not parametrize.is_parametrized(part):
                redraw()
