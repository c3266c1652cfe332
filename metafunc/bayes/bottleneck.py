"""The information bottleneck: codes with a Gaussian distribution, and what they may tell of their inputs."""

from collections.abc import Callable

import torch
from torch import Generator, Tensor

from metafunc import tree
from metafunc.bayes.gaussian import Gaussian, kl, sample, standard, standard_noise
from metafunc.types import Batch, M, Prepare, Scalar, Task, Tree, masked_mean


def bottleneck(outputs: Tensor) -> Gaussian:
    r"""An encoder's outputs (n, 2l) as Gaussians $\mathcal N(\mu(x), \mathrm{softplus}(s(x))^2)$ over codes (n, l)."""
    mean, raw = outputs.chunk(2, dim=-1)
    return Gaussian(mean, _log_softplus(raw))


def _log_softplus(x: Tensor) -> Tensor:
    """Also where the softplus itself is rounded to zero: it is e^x - e^2x / 2 + ..., and its logarithm x - e^x / 2."""
    # At -20 the next term, of the size of e^2x, is below the rounding of either floating-point type.
    above, below = x.clamp(min=-20), x.clamp(max=-20)
    return torch.where(x > -20, torch.nn.functional.softplus(above).log(), below - below.exp() / 2)


def information(code: Gaussian, mask: Tree = ()) -> Scalar:
    r"""The mean over rows of $\mathrm{KL}(q(z \mid x) \,\|\, \mathcal N(0, I))$, in nats: what codes may tell of x."""
    rows: Tensor = torch.vmap(lambda row: kl(row, standard(row.mean)))(code)
    return masked_mean(rows, mask)


def code_of(code: Gaussian, noise: Tensor | tuple[()] = ()) -> Tensor:
    """Codes drawn with normals for every row, (n, l); their means where there are none."""
    return code.mean if isinstance(noise, tuple) else sample(code, noise)


def code_noise(encode: Callable[[M, Tensor], Tensor]) -> Prepare[M]:
    """The `prepare` of a learner with noisy codes: in training normals for every row; in testing a code is its mean.

    Args:
        encode: (meta, inputs (n, ...)) to an encoder's outputs (n, 2 l); only their length is looked at.
    """

    def prepare(meta: M, tasks: Task, generator: Generator, /, *, step: int | None, num_steps: int) -> Task:
        if step is None:
            return tasks

        def noisy(batch: Batch) -> Batch:
            with torch.no_grad():  # one task's rows show how long a code is
                codes = bottleneck(encode(meta, batch.x[0].to(tree.leaves(meta)[0].device))).mean
            return batch._replace(extra=standard_noise(codes, generator, num_draws=batch.x.shape[0]))

        return Task(noisy(tasks.support), noisy(tasks.query))

    return prepare
