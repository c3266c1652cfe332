r"""Linearised Laplace: a trained point learner becomes Bayesian in the parameters that it has adapted.

Around a task's adapted parameters $\phi^*$ the network is linear, $f_\phi(x) \approx f_{\phi^*}(x) + J(x)(\phi -
\phi^*)$, and with a prior of precision $\delta$ around $\phi^*$ the posterior is Gaussian,

$$H = J_s^\top \Lambda J_s + \delta I, \qquad f(x) \mid D \sim \mathcal N\big(f_{\phi^*}(x),\; J(x) H^{-1}
J(x)^\top\big),$$

with $J_s$ the derivatives of all support outputs and $\Lambda = A A^\top$ the second derivatives of their negative
log-likelihood: $I / \sigma^2$, or $\mathrm{diag}(p) - p p^\top$ for classes, whose root is $A = \mathrm{diag}(\sqrt p)
(I - \sqrt p \sqrt p^\top)$. Woodbury's identity takes all of it to matrices over support outputs, however many
parameters there are:

$$J H^{-1} J^\top = \tfrac1\delta \big[ J J^\top - J J_s^\top A\, (\delta I + A^\top J_s J_s^\top A)^{-1} A^\top J_s
J^\top \big].$$

A regression predicts with the variance of f plus $\sigma^2$, classes with the mean softmax over f, by quadrature.
Neither $\delta$ nor $\sigma$ is known to a point learner: both are fitted on validation tasks.
"""

from collections.abc import Callable, Mapping
from math import prod
from typing import Literal, NamedTuple, TypeAlias

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from metafunc import tree
from metafunc.bayes.cubature import sobol_normals
from metafunc.bayes.post_hoc import Octaves, PostHoc, post_hoc
from metafunc.checks import at_least, counted, in_place, one_of
from metafunc.nn.likelihood import Likelihood
from metafunc.recipe import built
from metafunc.types import Batch, Categorical, M, MetaLearner, Model, Normal, Params, Task, Tree

Layers: TypeAlias = Literal["last", "all"]
PRECISION, NOISE = "prior_precision", "noise_scale"
RANGES = {PRECISION: Octaves(-14, 14), NOISE: Octaves(-6, 2, of_errors=True)}


class Mode(NamedTuple):
    """What a task is: the parameters that were adapted, and the support rows that say how far they may be off."""

    params: Params
    support: Batch


class Linear(NamedTuple):
    r"""The linearised network at query and support rows: everything but the two scalars."""

    outputs: Float[Tensor, "m outputs"]
    own: Float[Tensor, "m outputs outputs"]
    cross: Float[Tensor, "m outputs n outputs"]
    gram: Float[Tensor, "n outputs n outputs"]
    support_outputs: Float[Tensor, "n outputs"]
    present: Float[Tensor, " n"]


@built
def laplace(
    learner: MetaLearner[M, Params],
    model: Model,
    likelihood: Likelihood,
    *,
    layers: Layers = "last",
    num_particles: int = 64,
    dense_limit: int = 2**26,
) -> PostHoc[M, Mode]:
    r"""Linearised Laplace after adaptation: a point learner that knows how well its support set determines it.

    A path's first row, before any label, has the prior around the meta-parameters.

    Args:
        learner: a learner whose task parameters are those of one network, such as MAML.
        model: that network.
        likelihood: the observation model, Gaussian or categorical. Without a noise scale one is fitted.
        layers: which parameters are uncertain, those of the last layer or all.
        num_particles: points of the quadrature over the outputs of classes; a power of two.
        dense_limit: the most numbers that the Jacobian of one task's query outputs may have; at the default it takes
            256 MiB in single precision.

    Returns:
        The learner, with the scalars `prior_precision` ($\delta$) and, for regression, `noise_scale` ($\sigma$, in
        units of y); task parameters are a `Mode`. `metafunc.evaluate` fits them on validation tasks.

    Raises:
        TypeError: arguments have changed places.
        ValueError: if the likelihood is neither, an argument is out of its range, or, at the first task, the learner's
            task parameters are not the network's, or the Jacobian is larger than `dense_limit`.

    Examples:
        >>> import metafunc
        >>> from metafunc import algorithms, likelihood, nn
        >>> model, observed = nn.mlp((1,), 1), likelihood.gaussian()
        >>> learner = metafunc.laplace(algorithms.maml(model, observed), model, observed)
        >>> list(learner.ranges)
        ['prior_precision', 'noise_scale']

    References:
        Khan, Immer, Abedi, Korzepa (2019), "Approximate Inference Turns Deep Networks into Gaussian Processes".
        Daxberger et al. (2021), "Laplace Redux: Effortless Bayesian Deep Learning".
    """
    order = "laplace(learner, model, likelihood)"
    in_place(order, learner=(learner, MetaLearner), model=(model, Model), likelihood=(likelihood, Likelihood))
    if likelihood.num_outputs != likelihood.num_targets:
        raise ValueError("laplace takes likelihood.gaussian(...) or likelihood.categorical(...), whose outputs it can.")
    one_of(layers, ("last", "all"), "layers")
    at_least(1, num_particles=num_particles)
    like = model.init(Generator().manual_seed(0))
    shapes = {name: tuple(leaf.shape) for name, leaf in tree.by_path(like).items()}
    chosen = {name for name in shapes if layers == "all" or name.startswith(_last_layer([*shapes]))}
    size = sum(prod(shapes[name]) for name in chosen)

    def adapt(meta: M, support: Batch, /) -> Mode:
        return Mode(_known(learner.adapt(meta, support), shapes), support._replace(extra=()))

    def path(meta: M, support: Batch, num_steps: int, /) -> Mode:
        rows = tree.unstack(learner.path(meta, support, num_steps))
        _known(rows[0], shapes)
        present = _present(support)
        before = Mode(rows[0], support._replace(mask=torch.zeros_like(present), extra=()))
        return tree.stack([before, *(Mode(row, support._replace(mask=present, extra=())) for row in rows[1:])])

    def statistics(mode: Mode, x: Tensor) -> Linear:
        if (needed := x.shape[0] * likelihood.num_outputs * size) > dense_limit:
            raise ValueError(
                f"The Jacobian of {counted(x.shape[0], 'rows')} in {size} parameters has {needed} numbers, and "
                f"dense_limit = {dense_limit} forbids it: take layers='last' or fewer query rows, or raise the limit."
            )
        return _linear(model, mode, chosen, x)

    def footprint(tasks: Task) -> int:
        rows = tasks.support.x.shape[1] + 2 * tasks.query.x.shape[1]
        return int(rows * likelihood.num_outputs * size)

    classes = likelihood.kind == "classification"
    fitted = (
        [PRECISION, NOISE] if likelihood.kind == "regression" and likelihood.with_scale is not None else [PRECISION]
    )
    return post_hoc(
        learner,
        adapt=adapt,
        path=path,
        statistics=statistics,
        predictive=_of_classes(num_particles, likelihood.num_outputs) if classes else _of_numbers(likelihood),
        ranges={name: RANGES[name] for name in fitted},
        footprint=footprint,
    )


def variance(
    linear: Linear, root: Float[Tensor, "n outputs outputs"], precision: Tensor
) -> Float[Tensor, "m outputs outputs"]:
    r"""$J H^{-1} J^\top$ of every query row, by solves over support outputs.

    Args:
        linear: the linearised network.
        root: A for every support row; rows that the mask leaves out do not count.
        precision: $\delta$.
    """
    root = root * linear.present[:, None, None]
    cross = torch.einsum("minj,njk->mink", linear.cross, root).flatten(2)
    inner = torch.einsum("nji,njmk,mkl->niml", root, linear.gram, root).flatten(2).flatten(0, 1)
    damped = inner + precision * torch.eye(inner.shape[0], dtype=inner.dtype, device=inner.device)
    solved = torch.linalg.solve(damped, cross.flatten(0, 1).mT).mT.reshape(cross.shape)
    return (linear.own - torch.einsum("mik,mjk->mij", cross, solved)) / precision


def _of_numbers(likelihood: Likelihood) -> Callable[[Linear, Tensor], Normal]:
    def predictive(linear: Linear, values: Tensor) -> Normal:
        outputs = linear.outputs.shape[1]
        # A likelihood that states its noise leaves one scalar to fit.
        noise = values[1] if len(values) == 2 else likelihood.predictive(linear.outputs[None]).scale  # type: ignore[union-attr]
        precise, precision, sigma = _precise(linear), _precise(values)[0], _precise(noise)
        root = torch.eye(outputs, dtype=precise.outputs.dtype, device=sigma.device) / sigma
        found = variance(precise, root.expand(linear.present.shape[0], outputs, outputs), precision)
        # Rounding may leave a variance just below zero where a row lies on the support.
        spread = found.diagonal(dim1=1, dim2=2).clamp(min=0)
        return Normal(linear.outputs[None], (spread + sigma.square()).sqrt().to(linear.outputs.dtype)[None])

    return predictive


def _of_classes(num_particles: int, num_classes: int) -> Callable[[Linear, Tensor], Categorical]:
    # Drawn here: inside a transformation Sobol's engine has no memory to write to.
    nodes = sobol_normals(torch.zeros((), dtype=torch.float64), num_particles, num_classes)

    def predictive(linear: Linear, values: Tensor) -> Categorical:
        precise, precision = _precise(linear), _precise(values)[0]
        found = variance(precise, roots_of_classes(precise.support_outputs), precision)
        # A share of the prior variance keeps the factor real where the support leaves nothing else.
        share = 1e-9 * precise.own.diagonal(dim1=1, dim2=2).mean() / precision
        factor = torch.linalg.cholesky(
            found + share * torch.eye(found.shape[1], dtype=found.dtype, device=found.device)
        )
        moved = torch.einsum("mij,sj->smi", factor, nodes.to(factor))
        return Categorical(linear.outputs + moved.to(linear.outputs.dtype))

    return predictive


def roots_of_classes(logits: Float[Tensor, "n classes"]) -> Float[Tensor, "n classes classes"]:
    r"""A with $A A^\top = \mathrm{diag}(p) - p p^\top$, for every row of logits.

    Examples:
        >>> import torch
        >>> root = roots_of_classes(torch.zeros(1, 2))[0]
        >>> root @ root.mT
        tensor([[ 0.2500, -0.2500],
                [-0.2500,  0.2500]])
    """
    halves = torch.log_softmax(logits, -1).mul(0.5).exp()
    projection = (
        torch.eye(logits.shape[1], dtype=logits.dtype, device=logits.device) - halves[:, :, None] * halves[:, None]
    )
    return halves[:, :, None] * projection


def _known(params: Params, shapes: Mapping[str, tuple[int, ...]]) -> Params:
    """Task parameters, if they are those of one network."""
    found = {name: tuple(leaf.shape) for name, leaf in tree.by_path(params).items()}
    if differing := [name for name, shape in shapes.items() if found.get(name) != shape]:
        name = differing[0]
        raise ValueError(
            "laplace needs a learner whose task parameters are those of one network, such as maml, anil, meta_sgd, "
            f"reptile, imaml, pretrain or scratch: {name} should have the shape {shapes[name]}, and here it "
            f"{f'has {found[name]}' if name in found else 'is missing'}."
        )
    return params


def _linear(model: Model, mode: Mode, chosen: set[str], x: Tensor) -> Linear:
    outputs, at_query = _linearised(model, mode.params, chosen, x)
    support_outputs, at_support = _linearised(model, mode.params, chosen, mode.support.x)
    return Linear(
        outputs,
        torch.einsum("mip,mjp->mij", at_query, at_query),
        torch.einsum("mip,njp->minj", at_query, at_support),
        torch.einsum("mip,njp->minj", at_support, at_support),
        support_outputs,
        _present(mode.support).to(outputs.dtype),
    )


def _last_layer(names: list[str]) -> str:
    """How the names of the last layer's parameters begin."""
    heads = [name for name in names if name.startswith("head.")]
    return "head." if heads else f"{names[-1].rpartition('.')[0]}." if "." in names[-1] else names[-1]


def _linearised(
    model: Model, params: Params, chosen: set[str], x: Tensor
) -> tuple[Float[Tensor, "rows outputs"], Float[Tensor, "rows outputs size"]]:
    """Outputs, and their derivatives in the chosen parameters."""
    leaves, merge = tree.partition(params, lambda name: name in chosen)
    flat, unravel = tree.ravel(leaves)

    def outputs(vector: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        found = model.apply(merge(unravel(vector)), rows)
        return found, found

    def of_row(row: Tensor) -> tuple[Tensor, Tensor]:
        jacobian, found = torch.func.jacrev(outputs, has_aux=True)(flat, row[None])
        return found[0], jacobian[0]

    if model.normalisation == "transductive":  # the rows see each other
        jacobian, found = torch.func.jacrev(outputs, has_aux=True)(flat, x)
        return found, jacobian
    found, jacobian = torch.vmap(of_row)(x)
    return found, jacobian


def _present(support: Batch) -> Tensor:
    if isinstance(support.mask, tuple):
        return support.x.new_ones(support.x.shape[0])
    mask: Tensor = support.mask
    return mask


def _precise(values: Tree) -> Tree:
    """In double precision, where the device has it: the prior's variance is often a million times the posterior's."""
    return tree.map(lambda leaf: leaf if leaf.device.type == "mps" else leaf.double(), values)
