r"""PACOH's distribution over priors, and the loss whose gradient moves particles to it.

Rothfuss, Fortuin, Josifoski, Krause (2021), "PACOH: Bayes-Optimal Meta-Learning with PAC-Guarantees". A prior has
parameters $\phi$ with a hyper-prior $\mathcal P$. From n tasks the PAC-Bayesian bound is tightest for

$$Q^*(\phi) \propto \mathcal P(\phi) \exp\Big( \textstyle\sum_i \frac{\lambda}{n\beta_i + \lambda}
\log Z_i(\phi) \Big), \qquad Z_i(\phi) = \mathbb E_{\theta \sim P_\phi} \exp(-\beta_i L(\theta; D_i)),$$

with L the mean negative log-likelihood of a task's rows. Everything is divided by $\lambda$ here, so that a task's
share does not depend on how many others there are:

$$E_i(\phi) = -\frac{\log Z_i(\phi)}{\beta_i + \lambda / n} - \frac w\lambda \log \mathcal P(\phi),$$

whose mean over tasks is $-\frac1\lambda \log Q^*$ for w = 1, up to a constant.
"""

from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from metafunc.bayes.stein import Kernel, rbf, stein_loss
from metafunc.checks import at_least
from metafunc.types import M, Task, TaskLoss


@dataclass(frozen=True)
class HyperPosterior:
    r"""The weights of evidence and hyper-prior.

    Args:
        num_train_tasks: how many tasks there are to train on, n.
        tempering: the power p of n in $\lambda = n^p$; 1 with $\beta_i = m_i$ is Bayes' rule but for a row per task.
        hyperprior_weight: w; 1 in the theory.

    Raises:
        ValueError: if there is no task, or a power or weight is negative.
    """

    num_train_tasks: int
    tempering: float = 1.0
    hyperprior_weight: float = 1.0

    def __post_init__(self) -> None:
        at_least(1, num_train_tasks=self.num_train_tasks)
        at_least(0, tempering=self.tempering, hyperprior_weight=self.hyperprior_weight)

    @property
    def lambda_(self) -> float:
        r"""The weight $\lambda$ of the evidence."""
        return float(self.num_train_tasks**self.tempering)

    def energies(
        self,
        log_evidence: Float[Tensor, " particles"],
        log_hyperprior: Float[Tensor, " particles"],
        beta: float | Tensor,
    ) -> Float[Tensor, " particles"]:
        r"""$E_i$ of every particle.

        Args:
            log_evidence: $\log Z_i$.
            log_hyperprior: $\log \mathcal P$.
            beta: $\beta_i$.

        Examples:
            >>> import torch
            >>> both = HyperPosterior(num_train_tasks=4)
            >>> both.energies(torch.tensor([-6.0]), torch.tensor([-2.0]), beta=5.0)  # 6 / (5 + 1) + 2 / 4
            tensor([1.5000])
        """
        evidence: Tensor = log_evidence / (beta + self.lambda_ / self.num_train_tasks)
        return -evidence - self.hyperprior_weight / self.lambda_ * log_hyperprior

    def loss(self, energies: Callable[[M, Task], Float[Tensor, " particles"]], *, kernel: Kernel = rbf) -> TaskLoss[M]:
        """The task loss whose mean moves particles to the distribution, by Stein's direction; for one, its gradient.

        Args:
            energies: (particles, task) to those that `energies` gives.
            kernel: between particles.
        """
        return stein_loss(energies, temperature=1 / self.lambda_, kernel=kernel)
