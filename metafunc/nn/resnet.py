"""The residual network of the few-shot papers: four blocks of three convolutions."""

from torch import Generator, Tensor
from torch.nn import functional as F

from metafunc.nn.kernels.pooling import max_pool2d
from metafunc.nn.layers import (
    Initialisation,
    as_model,
    check_common,
    convolve,
    head,
    image_shape,
    layer,
    norm,
    positive,
)
from metafunc.recipe import built
from metafunc.types import Model, Normalisation, Params

BLOCKS, LAYERS, LEAK = 4, 3, 0.1


@built
def resnet12(
    input_shape: tuple[int, ...],
    num_outputs: int | None,
    *,
    width: int = 64,
    normalisation: Normalisation = "transductive",
    initialisation: Initialisation = "he",
) -> Model:
    r"""Four residual blocks of three 3x3 convolutions, each halved, the mean over positions, and a linear head.

    $$b_1 = \phi(\mathrm{norm}(W_1 * h)), \quad b_2 = \phi(\mathrm{norm}(W_2 * b_1)), \quad
    h' = \phi(\mathrm{pool}(\mathrm{norm}(W_3 * b_2) + \mathrm{norm}(V * h)))$$

    with $\phi(z) = \max(z, z/10)$ and 1x1 kernels V; $f(x) = W\,\mathrm{mean}(h_4) + b$. Rectifying after the pooling
    is the same function as before it, on a quarter of the numbers. There is no dropout, which papers that train on all
    classes at once add.

    Args:
        input_shape: (channels, height, width): at least 16 x 16; 84 x 84 in the papers.
        num_outputs: the number of outputs; `None` leaves the head off, and the outputs are the features.
        width: channels of the first block; the others have 2.5, 5 and 10 times as many: 64, 160, 320 and 640.
        normalisation: whose statistics a prediction normalises by. The choices are those of `mlp`.
        initialisation: `he` is made for rectified layers of many inputs. The choices are those of `mlp`.

    Returns:
        The model; inputs are (n, channels, height, width), outputs (n, num_outputs). Its leaves are
        `block1.layer1.weight`, `block1.norm1.scale`, `block1.norm1.shift`, ..., `block1.shortcut.weight`,
        `block1.shortcut_norm.scale`, ..., `head.weight`, `head.bias`.

    Raises:
        ValueError: the input shape is no image or too small for four max-pools, or a value is out of its range.

    Examples:
        >>> import torch
        >>> from metafunc import nn
        >>> model = nn.resnet12((3, 32, 32), 5, width=2)
        >>> params = model.init(torch.Generator().manual_seed(0))
        >>> model.apply(params, torch.zeros(10, 3, 32, 32)).shape
        torch.Size([10, 5])

    References:
        Oreshkin, Rodriguez and Lacoste (2018), TADAM: task dependent adaptive metric for improved few-shot learning;
        Lee, Maji, Ravichandran and Soatto (2019), Meta-learning with differentiable convex optimization.
    """
    shape = image_shape("resnet12", input_shape)
    positive("width", (width,))
    check_common(num_outputs, normalisation, initialisation)
    if min(shape[1:]) < 2**BLOCKS:
        raise ValueError(
            f"resnet12 was given input_shape={shape}, but four max-pools need at least 16 x 16: enlarge the images, or "
            'take conv4 with pooling="stride".'
        )
    normalised = normalisation != "none"
    channels = (shape[0], width, 5 * width // 2, 5 * width, 10 * width)

    def init(generator: Generator) -> Params:
        params: Params = {}
        for i in range(1, BLOCKS + 1):
            fans, name = (channels[i - 1], *[channels[i]] * LAYERS), f"block{i}"
            parts = [(f"layer{j}", f"norm{j}", (channels[i], fans[j - 1], 3, 3)) for j in range(1, LAYERS + 1)]
            for own, its_norm, kernel in (*parts, ("shortcut", "shortcut_norm", (channels[i], fans[0], 1, 1))):
                params |= layer(f"{name}.{own}", kernel, initialisation, generator, bias=not normalised)
                if normalised:
                    params |= norm(f"{name}.{its_norm}", channels[i], generator)
        if num_outputs is not None:
            params |= layer("head", (num_outputs, channels[-1]), initialisation, generator)
        return params

    def block(params: Params, name: str, h: Tensor, *, data: bool) -> tuple[Tensor, Params]:
        past, statistics = convolve(
            params, f"{name}.shortcut", f"{name}.shortcut_norm", h, normalisation, data=data, padding=0
        )
        for j in range(1, LAYERS + 1):
            h, used = convolve(params, f"{name}.layer{j}", f"{name}.norm{j}", h, normalisation, data=data and j == 1)
            statistics = statistics | used
            h = F.leaky_relu(h, LEAK) if j < LAYERS else h
        return F.leaky_relu(max_pool2d(h + past, 2), LEAK), statistics

    def forward(params: Params, x: Tensor) -> tuple[Tensor, Params]:
        h, statistics = x, Params()
        for i in range(1, BLOCKS + 1):
            h, used = block(params, f"block{i}", h, data=i == 1)
            statistics |= used
        return head(params, h.mean((2, 3))), statistics

    return as_model(init, forward, normalisation)
