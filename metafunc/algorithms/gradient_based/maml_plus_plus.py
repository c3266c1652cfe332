r"""MAML++: MAML with a loss after every inner step, and step sizes learned for every layer and step.

Antoniou, Edwards, Storkey (2019), "How to Train Your MAML". The meta-parameters are an initialisation $\theta$
(`params`) and step sizes $\alpha_k^{(l)}$ (`inner_lr`: a vector over the steps k for each leaf l):

$$\theta_i^{k+1} = \theta_i^k - \alpha_k \odot \nabla L(\theta_i^k; D_i^{\mathrm{support}}), \qquad
\min_{\theta, \alpha} \tfrac1n \textstyle\sum_i \sum_{k=1}^K w_k L(\theta_i^k; D_i^{\mathrm{query}}).$$

The weights start at $w_k = 1/K$. Over the first $E$ epochs each but the last falls by $1/(KE)$ an epoch, to no less
than $.03/K$, and the last takes what they lose; after these epochs only the last step counts. They are no randomness,
but like it they change from step to step, so they travel as data. The paper's normalisation statistics for each step
belong to the network and are not here; its cosine schedule of the outer step size belongs to the outer optimiser.
"""

from typing import NamedTuple

from torch import Generator, Tensor

from metafunc import tree
from metafunc.checks import at_least, not_negative
from metafunc.nn.likelihood import Likelihood
from metafunc.recipe import built
from metafunc.transforms.inner import Step, descend, path, repeat
from metafunc.transforms.optim import Optimiser, sgd
from metafunc.types import Data, MetaLearner, Model, Params, Scalar, Task, Tree


class MamlPlusPlusParams(NamedTuple):
    """An initialisation, and for each of its leaves a vector of step sizes over the inner steps."""

    params: Params
    inner_lr: Params


def _by_step(rates: Tree) -> Optimiser:
    """Gradient descent whose k-th step takes the k-th rate, and the last one ever after; its state is k."""

    def update(gradient: Tree, k: int, params: Tree) -> tuple[Tree, int]:
        now = tree.map(lambda rate: rate[min(k, rate.shape[0] - 1)], rates)
        return sgd(now).update(gradient, (), params)[0], k + 1

    return Optimiser(init=lambda params: 0, update=update)


def _weights(epoch: int, num_epochs: int, num_steps: int) -> list[float]:
    floor = 0.03 / num_steps
    early = max((1 - epoch / num_epochs) / num_steps, floor)
    return [early] * (num_steps - 1) + [1 - (num_steps - 1) * early]


@built
def maml_plus_plus(
    model: Model,
    likelihood: Likelihood,
    *,
    inner_lr: float = 0.01,
    num_steps: int = 5,
    multi_step_epochs: int = 15,
    steps_per_epoch: int = 500,
) -> MetaLearner[MamlPlusPlusParams, Params]:
    """MAML++: MAML with a loss after every inner step, and step sizes learned for every layer and step.

    Args:
        model: the network.
        likelihood: the observation model; its loss is both the inner and the outer one.
        inner_lr: every step size at the start of training.
        num_steps: inner steps in training; further steps take the last one's sizes.
        multi_step_epochs: epochs in which every inner step's query loss counts; 0 leaves only the last one's.
        steps_per_epoch: outer steps that make an epoch.

    Returns:
        The learner; meta-parameters are a `MamlPlusPlusParams`, task parameters the model's. Tasks that `prepare` has
        not seen are judged after the last inner step only.

    Raises:
        ValueError: if `inner_lr` is negative or not finite, `multi_step_epochs` is negative, or `num_steps` or
            `steps_per_epoch` is below 1.

    Examples:
        >>> import torch
        >>> from metafunc import Batch, algorithms, likelihood, nn
        >>> learner = algorithms.maml_plus_plus(nn.mlp((1,), 1), likelihood.gaussian(), num_steps=5)
        >>> support = Batch(torch.zeros(5, 1), torch.zeros(5, 1))
        >>> params = learner.adapt(learner.init(torch.Generator().manual_seed(0)), support)
        >>> learner.predict(params, torch.zeros(7, 1)).loc.shape  # particles, rows, targets
        torch.Size([1, 7, 1])

    References:
        Antoniou, Edwards, Storkey (2019), section 4.
    """
    not_negative(inner_lr=inner_lr)
    at_least(1, num_steps=num_steps)
    at_least(0, multi_step_epochs=multi_step_epochs)
    at_least(1, steps_per_epoch=steps_per_epoch)
    loss = likelihood.of(model)
    inner_steps = num_steps

    def init(generator: Generator) -> MamlPlusPlusParams:
        params = model.init(generator)
        return MamlPlusPlusParams(params, tree.map(lambda leaf: leaf.new_full((inner_steps,), inner_lr), params))

    def step(meta: MamlPlusPlusParams) -> Step[Tree]:
        return descend(loss, _by_step(meta.inner_lr))

    def prepare(
        meta: MamlPlusPlusParams, tasks: Task, generator: Generator, /, *, step: int | None, num_steps: int
    ) -> Task:
        epoch = multi_step_epochs if step is None else step // steps_per_epoch
        if epoch >= multi_step_epochs:
            return tasks
        weights = tree.leaves(meta)[0].new_tensor(_weights(epoch, multi_step_epochs, inner_steps))
        num_tasks = tree.leaves(tasks)[0].shape[0]
        return tasks._replace(query=tasks.query._replace(extra=weights.expand(num_tasks, inner_steps)))

    def adapt(meta: MamlPlusPlusParams, support: Data, /) -> Tree:
        return repeat(step(meta), inner_steps, finish=model.finish)(meta.params, support)

    def rows(meta: MamlPlusPlusParams, support: Data, num_steps: int, /) -> Tree:
        return path(step(meta), finish=model.finish)(meta.params, support, num_steps)

    def task_loss(meta: MamlPlusPlusParams, task: Task, /) -> Scalar:
        if isinstance(task.query.extra, tuple):
            return loss(adapt(meta, task.support), task.query)
        after = tree.at(rows(meta, task.support, inner_steps), slice(1, None))
        losses: Tensor = tree.vmap(loss, in_dims=(0, None))(after, task.query)
        weighted: Tensor = task.query.extra * losses
        return weighted.sum()

    return MetaLearner(
        init=init,
        prepare=prepare,
        adapt=adapt,
        path=rows,
        task_loss=task_loss,
        predict=likelihood.predict(model),
        normalisation=model.normalisation,
        network_prefix="params.",
    )
