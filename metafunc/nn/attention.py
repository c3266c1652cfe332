r"""Attention, and the transformer made of it, with derivatives of any order.

Vaswani et al. (2017), "Attention Is All You Need". A head compares queries $q_i$ with keys $k_j$ and averages values,

$$a_{ij} = \frac{m_j \exp(q_i \cdot k_j / \sqrt{d})}{\sum_l m_l \exp(q_i \cdot k_l / \sqrt{d})}, \qquad
h_i = \textstyle\sum_j a_{ij} v_j,$$

where $m_j$ is 1 for a row that counts; without any such row $h_i = 0$. It is written out in elementary operations, as
torch's fused kernels have no second derivative. Queries never see each other: every row reads from a memory, whose keys
and values do not depend on who reads them and are computed once.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Generator, Tensor
from torch.nn import functional as F

from metafunc.checks import at_least
from metafunc.nn.exact import layer_norm
from metafunc.nn.layers import layer, norm
from metafunc.types import Params, Tree


class Memory(NamedTuple):
    """What rows can be read for: a key and a value for each row of each layer, and the mask of the rows (m,)."""

    keys: Float[Tensor, "layers m width"]
    values: Float[Tensor, "layers m width"]
    mask: Float[Tensor, " m"]


def attend(
    queries: Float[Tensor, "n width"],
    keys: Float[Tensor, "m width"],
    values: Float[Tensor, "m width"],
    mask: Tree = (),
    *,
    num_heads: int = 1,
) -> Float[Tensor, "n width"]:
    """What queries find in a memory, head by head.

    Args:
        queries: one row for each question.
        keys: one row for each answer.
        values: the answers.
        mask: 1 for the keys that count (m,), 0 for the others; () if all do.
        num_heads: into how many equal parts the width is split, each with an average of its own.

    Returns:
        An average of values for each query; zero where no key counts.

    Examples:
        >>> import torch
        >>> values = torch.tensor([[1.0], [3.0]])
        >>> attend(torch.zeros(1, 1), torch.zeros(2, 1), values)
        tensor([[2.]])
        >>> attend(torch.zeros(1, 1), torch.zeros(2, 1), values, torch.tensor([0.0, 1.0]))
        tensor([[3.]])

    References:
        Vaswani et al. (2017), section 3.2.
    """
    if keys.shape[0] == 0:
        return torch.zeros_like(queries)
    each = (num_heads, queries.shape[1] // num_heads)
    q, k, v = (rows.reshape(rows.shape[0], *each).movedim(1, 0) for rows in (queries, keys, values))
    scores = q @ k.mT / k.shape[-1] ** 0.5
    present = torch.ones_like(scores[0, 0]) if isinstance(mask, tuple) else mask.to(scores)
    # The largest score that counts is subtracted, and garbage never reaches the exponential: no overflow, and no
    # infinite derivative behind a zero weight. Where a key counts the total is 1 at least.
    low = torch.finfo(scores.dtype).min
    top = torch.where(present > 0, scores, low).amax(-1, keepdim=True).detach()
    weights = present * torch.where(present > 0, scores - top, 0.0).exp()
    found: Tensor = weights @ v / weights.sum(-1, keepdim=True).clamp(min=0.5)
    return found.movedim(0, 1).flatten(1)


@dataclass(frozen=True)
class Transformer:
    r"""Layers in which rows read from a memory, each followed by a perceptron for each row.

    $$h \leftarrow \mathrm{LN}\big(h + W_o\, \mathrm{attend}(W_q h, K, V)\big), \qquad
    h \leftarrow \mathrm{LN}\big(h + W_2\, \mathrm{gelu}(W_1 h)\big).$$

    Args:
        width: numbers in a row, of input and output.
        num_heads: heads of each layer; they divide the width.
        num_layers: layers.
        num_hidden: hidden units of each layer's perceptron.

    Raises:
        ValueError: a number is below 1, or the heads do not divide the width.

    Examples:
        >>> import torch
        >>> network = Transformer(width=8, num_heads=2, num_layers=3, num_hidden=16)
        >>> params = network.init(torch.Generator().manual_seed(0))
        >>> memory = network.remember(params, torch.zeros(5, 8))
        >>> network.read(params, torch.zeros(2, 8), memory).shape
        torch.Size([2, 8])
    """

    width: int
    num_heads: int
    num_layers: int
    num_hidden: int

    def __post_init__(self) -> None:
        at_least(1, width=self.width, num_heads=self.num_heads)
        at_least(1, num_layers=self.num_layers, num_hidden=self.num_hidden)
        check_heads(self.width, self.num_heads)

    def init(self, generator: Generator) -> Params:
        """Glorot's weights, biases of zero; the leaves of layer i are `block{i}.query.weight`, ..."""
        params: Params = {}
        for i in range(1, self.num_layers + 1):
            for name in ("query", "key", "value", "merge"):
                params |= layer(f"block{i}.{name}", (self.width, self.width), "xavier", generator)
            params |= norm(f"block{i}.norm1", self.width, generator)
            params |= layer(f"block{i}.layer1", (self.num_hidden, self.width), "xavier", generator)
            params |= layer(f"block{i}.layer2", (self.width, self.num_hidden), "xavier", generator)
            params |= norm(f"block{i}.norm2", self.width, generator)
        return params

    def remember(self, params: Params, x: Float[Tensor, "m width"], mask: Tree = ()) -> Memory:
        """The keys and values of rows that read from each other in every layer."""
        present = x.new_ones(x.shape[0]) if isinstance(mask, tuple) else mask.to(x)
        h, keys, values = x, [], []
        for i in range(1, self.num_layers + 1):
            keys.append(linear(params, f"block{i}.key", h))
            values.append(linear(params, f"block{i}.value", h))
            if i < self.num_layers:  # The memory of the last layer is not read any further.
                h = self._block(params, i, h, keys[-1], values[-1], present)
        return Memory(torch.stack(keys), torch.stack(values), present)

    def remember_pairs(
        self, params: Params, x: Float[Tensor, "m width"], values: Float[Tensor, "m width"], mask: Tree = ()
    ) -> Memory:
        """What one layer remembers of rows that are found by one thing and read for another.

        Raises:
            ValueError: if there are more layers, whose queries would not be like these keys.
        """
        if self.num_layers > 1:
            raise ValueError(f"Pairs are remembered by one layer, and this transformer has {self.num_layers}.")
        present = x.new_ones(x.shape[0]) if isinstance(mask, tuple) else mask.to(x)
        found = linear(params, "block1.key", x), linear(params, "block1.value", values)
        return Memory(found[0][None], found[1][None], present)

    def read(self, params: Params, x: Float[Tensor, "n width"], memory: Memory) -> Float[Tensor, "n width"]:
        """The last layer's outputs of rows that read from a memory, each by itself."""
        h = x
        for i in range(1, self.num_layers + 1):
            h = self._block(params, i, h, memory.keys[i - 1], memory.values[i - 1], memory.mask)
        return h

    def _block(self, params: Params, i: int, h: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
        found = attend(linear(params, f"block{i}.query", h), keys, values, mask, num_heads=self.num_heads)
        h = normed(params, f"block{i}.norm1", h + linear(params, f"block{i}.merge", found))
        inner = F.gelu(linear(params, f"block{i}.layer1", h))
        return normed(params, f"block{i}.norm2", h + linear(params, f"block{i}.layer2", inner))


def check_heads(width: int, num_heads: int) -> None:
    """Refuse heads that do not divide the width."""
    if width % num_heads:
        raise ValueError(f"{num_heads} heads cannot share a width of {width}: make it a multiple of num_heads.")


def linear(params: Params, name: str, x: Tensor) -> Tensor:
    """A linear layer by its name."""
    return F.linear(x, params[f"{name}.weight"], params[f"{name}.bias"])


def normed(params: Params, name: str, x: Tensor) -> Tensor:
    """A layer norm by its name (Ba, Kiros, Hinton 2016, "Layer Normalization")."""
    return layer_norm(x, x.shape[-1:], params[f"{name}.scale"], params[f"{name}.shift"])
