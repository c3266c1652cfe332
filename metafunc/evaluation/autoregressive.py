r"""Joint predictions of any learner, row by row: each row is predicted from the support set and the rows before it.

$$\log p(y_1, \dots, y_n \mid x, D) = \sum_i \log p\big(y_{\pi(i)} \mid x_{\pi(i)},\;
D \cup \{(x_{\pi(j)}, y_{\pi(j)})\}_{j < i}\big)$$

for an order $\pi$. A learner that predicts row by row, such as a neural process, has correlated predictions that way,
and draws of whole functions: a draw is fed back as an observation. Of an exact posterior this is the chain rule, and
the order does not matter; of others it does, and is drawn at random.

A set grows by its mask: support and query rows are one padded batch, of which every step counts one row more. So a step
costs an adaptation to all rows, and n rows cost n adaptations.

References:
    Bruinsma et al. (2023), "Autoregressive Conditional Neural Processes".
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Float64, Int64, Shaped
from torch import Tensor

from metafunc import tree
from metafunc.bayes.mixtures import log_weights
from metafunc.checks import counted
from metafunc.data.sampling import generator_for, standard_normal
from metafunc.evaluation.metrics.scores import nll
from metafunc.types import Batch, Categorical, M, MetaLearner, P, Predictive, Scalar, Task, TaskFamily, Tree

NOT_ROW_BY_ROW = (
    "An autoregressive joint adds one row after the other to the support set, and this network normalises by all rows "
    "that it sees, whether they count or not: take a network with normalisation none."
)


def pooled(support: Batch, query: Batch) -> Batch:
    """Support and query rows as one set, with a mask; to be prepared as a support set.

    Examples:
        >>> import torch
        >>> pooled(Batch(torch.zeros(2, 1), torch.zeros(2, 1)), Batch(torch.ones(1, 1), torch.ones(1, 1))).mask
        tensor([1., 1., 1.])
    """
    x, y = torch.cat([support.x, query.x]), torch.cat([support.y, query.y])
    return Batch(x, y, torch.cat([whole(support), whole(query)]))


def whole(batch: Batch) -> Float[Tensor, " n"]:
    """The mask of a batch of one task, also where all rows count."""
    if not isinstance(batch.mask, tuple):
        mask: Tensor = batch.mask
        return mask
    return torch.ones(batch.x.shape[0], dtype=torch.get_default_dtype(), device=batch.x.device)


def log_joint(
    learner: MetaLearner[M, P],
    meta: M,
    rows: Batch,
    order: Int64[Tensor, " n"],
    *,
    noise: Tree = (),
    chunk_size: int | None = None,
) -> Scalar:
    r"""The log-probability of a task's query rows together, each given the support set and the rows before it.

    Args:
        learner: what predicts.
        meta: its meta-parameters.
        rows: the support rows and after them the n query rows, as `pooled` has them, prepared as a support set.
        order: the query rows' numbers 0 to n - 1 in the order in which they come; a row whose mask is 0 counts nowhere.
        noise: a standard deviation for predictions without one.
        chunk_size: how many of the n adaptations are done at a time; None: all.

    Returns:
        The sum over the query rows that count, in nats.

    Examples:
        >>> import torch
        >>> from metafunc import algorithms, likelihood, nn
        >>> learner = algorithms.alpaca(nn.mlp((1,), 40), likelihood.gaussian())
        >>> meta = learner.init(torch.Generator().manual_seed(0))
        >>> support, query = Batch(torch.zeros(3, 1), torch.ones(3, 1)), Batch(torch.ones(2, 1), torch.ones(2, 1))
        >>> one, other = (log_joint(learner, meta, pooled(support, query), torch.tensor(o)) for o in ([0, 1], [1, 0]))
        >>> exact = learner.joint(learner.adapt(meta, support), query)
        >>> bool((one - other).abs() < 1e-4), bool((one - exact).abs() < 1e-4)
        (True, True)
    """
    num_query = order.shape[0]
    first = rows.x.shape[0] - num_query
    counts = rows.mask[first:]
    ranks = torch.empty_like(order).scatter(0, order, torch.arange(num_query, device=order.device))

    def of_row(row: Tensor) -> Scalar:
        """The log-probability of one query row, by its number."""
        earlier = (ranks < ranks.gather(0, row[None])) * counts
        params = learner.adapt(meta, rows._replace(mask=torch.cat([rows.mask[:first], earlier])))
        x, y = rows.x.index_select(0, first + row[None]), rows.y.index_select(0, first + row[None])
        return -nll(learner.predict(params, x).with_noise(noise), y)

    found = torch.vmap(of_row, chunk_size=chunk_size)(torch.arange(num_query, device=order.device))
    return torch.where(counts > 0, found, 0.0).sum()


def sample(
    learner: MetaLearner[M, P],
    meta: M,
    rows: Batch,
    uniforms: Float64[Tensor, "n width"],
    *,
    noise: Tree = (),
    blocks: Sequence[int] = (),
) -> Shaped[Tensor, "n ..."]:
    r"""One draw of observations at the query rows together, in the order in which they stand.

    Args:
        learner: what predicts.
        meta: its meta-parameters.
        rows: the support rows and after them the n query rows, as `pooled` has them, prepared as a support set; the
            query rows' targets are not looked at.
        uniforms: numbers on [0, 1): for every query row one that chooses a particle, and one for each output of a
            regression, or one in all for a class.
        noise: a standard deviation for predictions without one.
        blocks: how many rows are drawn at a time, n in all; given a particle, which is one for a block, the rows of a
            block are independent. By default one at a time.

    Returns:
        The observations at the query rows.
    """
    first = rows.x.shape[0] - uniforms.shape[0]
    y, places, start = rows.y, torch.arange(rows.x.shape[0], device=rows.x.device), 0
    for size in blocks or (1,) * uniforms.shape[0]:
        begin, end = first + start, first + start + size
        params = learner.adapt(meta, rows._replace(y=y, mask=rows.mask * (places < begin)))
        predictive = learner.predict(params, rows.x[begin:end]).with_noise(noise)
        drawn = _drawn(predictive, uniforms[start : start + size]).to(y.dtype)
        y = torch.cat([y[:begin], drawn, y[end:]])
        start += size
    return y[first:]


def growing(num_rows: int, *, rate: float = 0.125) -> list[int]:
    """Blocks for `sample` of which each is a share of the rows before it: few adaptations for many rows.

    Args:
        num_rows: how many rows there are in all.
        rate: the share; the first blocks have one row.

    Examples:
        >>> growing(20, rate=0.5)
        [1, 1, 1, 1, 2, 3, 4, 6, 1]
    """
    sizes: list[int] = []
    while (left := num_rows - sum(sizes)) > 0:
        sizes.append(min(left, max(1, int(rate * sum(sizes)))))
    return sizes


def draw_functions(
    learner: MetaLearner[M, P],
    meta: M,
    support: Batch,
    x: Shaped[Tensor, "n ..."],
    *,
    num_draws: int = 10,
    noise_scale: float | None = None,
    blocks: Sequence[int] = (),
    seed: int = 0,
) -> Shaped[Tensor, "draws n ..."]:
    """Draws of what would be observed at new inputs together, given a support set: of whole functions, with noise.

    Rows come in the order of `x`, so that n rows cost n adaptations; all draws are made at the same time.

    Args:
        learner: what was trained.
        meta: its meta-parameters.
        support: the examples of the task, one axis of rows.
        x: the inputs (n, ...).
        num_draws: how many draws.
        noise_scale: the observations' standard deviation, in the predictions' `unit`, if there is no noise model.
        blocks: how many rows are drawn at a time, n in all, such as `growing` has them; by default one. The rows of a
            block do not see each other, so that blocks are for rows that are far apart, such as pixels in a random
            order: it is quicker, and an approximation.
        seed: of the draws, and of the noise that some learners draw.

    Returns:
        The draws: targets (draws, n, outputs), or classes (draws, n).

    Raises:
        ValueError: the network normalises over all rows that it sees, there is no noise scale, or the blocks have
            another number of rows.

    Examples:
        >>> import torch
        >>> from metafunc import algorithms, likelihood, nn
        >>> learner = algorithms.dkt(nn.mlp((1,), 40), likelihood.gaussian())
        >>> meta = learner.init(torch.Generator().manual_seed(0))
        >>> support = Batch(torch.zeros(3, 1), torch.ones(3, 1))
        >>> draw_functions(learner, meta, support, torch.linspace(-1, 1, 5)[:, None], num_draws=2).shape
        torch.Size([2, 5, 1])
    """
    check_row_by_row(learner)
    if blocks and sum(blocks) != x.shape[0]:
        raise ValueError(
            f"blocks has {counted(sum(blocks), 'rows')} in all, and x has {x.shape[0]}: they have to agree."
        )
    y = support.y.new_zeros(x.shape[0], *support.y.shape[1:])
    query = Batch(x, y)
    tasks = tree.map(lambda leaf: leaf[None], Task(pooled(support, query), query))
    width = 1 + (y[0].numel() if y.is_floating_point() else 1)
    generator = generator_for(seed, "draws", 0)
    uniforms = torch.rand(num_draws, x.shape[0], width, dtype=torch.float64, generator=generator)
    with torch.no_grad():
        prepared = learner.prepare(meta, tasks, generator_for(seed, "predict", 0), step=None, num_steps=0)
        rows, noise = tree.at(prepared.support, 0), () if noise_scale is None else y.new_tensor(noise_scale)

        def one(own: Tensor) -> Tensor:
            return sample(learner, meta, rows, own, noise=noise, blocks=blocks)

        draws: Tensor = torch.vmap(one)(uniforms.to(x.device))
    return draws


def check_row_by_row(learner: MetaLearner[M, P], family: TaskFamily | None = None) -> None:
    """Refuse a learner whose network looks at rows that do not count, and tasks that have no rows.

    Raises:
        ValueError: it does, or they are tasks of control.
    """
    if family is not None and family.kind == "control":
        raise ValueError(f"{family.name} is control, and an autoregressive joint is of rows with inputs and targets.")
    if learner.normalisation != "none":
        raise ValueError(NOT_ROW_BY_ROW)


def _drawn(predictive: Predictive, uniforms: Float64[Tensor, "n width"]) -> Tensor:
    """Observations of some rows, from one particle and by the inverse distribution function."""
    if isinstance(predictive, Categorical):
        probs = torch.softmax(predictive.logits, -1).mean(0)
        return (probs.cumsum(-1)[:, :-1] <= uniforms[:, 1:]).sum(-1)
    if isinstance(predictive.scale, tuple):
        raise ValueError("These predictions have no noise scale to draw with: give noise_scale.")
    weights = log_weights(predictive).expand(predictive.loc.shape[:2]).exp()
    which = (weights.cumsum(0)[:-1] <= uniforms[0, 0]).sum(0)[None, :, None]
    scale = predictive.scale.expand_as(predictive.loc)
    loc, scale = (leaf.take_along_dim(which, 0)[0] for leaf in (predictive.loc, scale))
    return loc + scale * standard_normal(uniforms[:, 1:])
