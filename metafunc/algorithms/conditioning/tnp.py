r"""Transformer neural processes: every row is a token, and the tokens of the query read those of the support set.

Nguyen, Grover (2022), "Transformer Neural Processes". With an embedding e, a transformer T whose rows read only from
the support set's, and a head g,

$$t_i = e(x_i, y_i), \qquad t_* = e(x_*, 0), \qquad
p(y_* \mid x_*, D) = p\big(y_* \mid g(T(t_*; t_{1:n}))\big), \qquad
\max \textstyle\sum_* \log p(y_* \mid x_*, D^{\mathrm{support}}).$$

This is the diagonal variant: query rows do not see each other, and the support rows have no positions, so that their
order does not matter. The keys and values of the support rows do not depend on the query, and are what adaptation
keeps. With bins for a head it is the in-context learner of Müller et al. (2022), "Transformers Can Do Bayesian
Inference". A path has two rows, before any support row and after all of them.
"""

from typing import NamedTuple

from torch import Generator, Tensor

from metafunc import tree
from metafunc.algorithms.assembly import context_learner, joined
from metafunc.checks import fraction
from metafunc.nn.attention import Memory, Transformer
from metafunc.nn.likelihood import Likelihood
from metafunc.nn.mixture import Head, with_head
from metafunc.recipe import built
from metafunc.types import Batch, MetaLearner, Model, Params


class TnpParams(NamedTuple):
    """The parameters of the embedding, the transformer and the head."""

    tokens: Params
    blocks: Params
    head: Params


class Tokens(NamedTuple):
    """What a task is: the parameters, and what the support set's tokens can be read for in every layer."""

    params: TnpParams
    memory: Memory


@built
def tnp(
    tokens: Model,
    head_network: Model,
    likelihood: Likelihood,
    *,
    width: int = 64,
    num_heads: int = 4,
    num_layers: int = 6,
    num_hidden: int = 128,
    head: Head = "gaussian",
    num_components: int = 5,
    num_bins: int = 100,
    bin_range: float = 3.0,
    noise_floor: float = 0.01,
) -> MetaLearner[TnpParams, Tokens]:
    """Transformer neural process: query rows attend to the support set's rows, layer by layer.

    Args:
        tokens: the network from an input joined to its target, (n, inputs + targets), to tokens (n, width).
        head_network: the network from tokens to what the head takes.
        likelihood: the observation model; `heteroscedastic` is the paper's for regression.
        width: numbers in a token.
        num_heads: heads of each layer's attention.
        num_layers: layers of the transformer.
        num_hidden: hidden units of each layer's perceptron.
        head: "gaussian" keeps the likelihood, "mixture" predicts a mixture of Gaussians, "bins" weights of bins on a
            fixed grid, for one output.
        num_components: Gaussians of a mixture.
        num_bins: bins.
        bin_range: the bins lie between minus this and this, in units of y.
        noise_floor: the smallest noise scale that may be predicted, in units of y, unless the likelihood's own floor is
            higher; bins have the width that they have.

    Returns:
        The learner; meta-parameters are a `TnpParams`, task parameters `Tokens`.

    Raises:
        ValueError: if a number is out of its range, the heads do not divide the width, or the head does not fit.

    Examples:
        >>> import torch
        >>> from metafunc import Batch, algorithms, likelihood, nn
        >>> networks = nn.mlp((2,), 64), nn.mlp((64,), 2)
        >>> learner = algorithms.tnp(*networks, likelihood.heteroscedastic(floor=0.01), num_layers=2)
        >>> support = Batch(torch.zeros(5, 1), torch.zeros(5, 1))
        >>> params = learner.adapt(learner.init(torch.Generator().manual_seed(0)), support)
        >>> learner.predict(params, torch.zeros(7, 1)).loc.shape  # particles, rows, targets
        torch.Size([1, 7, 1])

    References:
        Nguyen, Grover (2022), section 4.1.
    """
    fraction(noise_floor=noise_floor)
    observed = with_head(
        likelihood, head, num_components=num_components, num_bins=num_bins, bin_range=bin_range
    ).at_least(noise_floor)
    transformer = Transformer(width, num_heads, num_layers, num_hidden)

    def init(generator: Generator) -> TnpParams:
        params = tokens.init(generator)
        blocks = tree.like(params, transformer.init(generator))
        return TnpParams(params, blocks, head_network.init(generator))

    def given(meta: TnpParams, support: Batch) -> Tokens:
        rows = joined(support.x, support.y)
        params = meta._replace(tokens=tokens.condition(meta.tokens, rows))
        embedded = tokens.apply(params.tokens, rows)
        params = params._replace(head=head_network.condition(meta.head, embedded))
        return Tokens(params, transformer.remember(meta.blocks, embedded, support.mask))

    def outputs(task: Tokens, x: Tensor) -> Tensor:
        unknown = x.new_zeros(x.shape[0], likelihood.num_targets)
        asked = tokens.apply(task.params.tokens, joined(x, unknown))
        return head_network.apply(task.params.head, transformer.read(task.params.blocks, asked, task.memory))

    return context_learner(head_network, observed, init=init, given=given, outputs=outputs)
