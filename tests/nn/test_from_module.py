"""Any module as a model: exact where torch is wrong, refused where it cannot be a pure function."""

import copy
from collections.abc import Callable

import jaxtyping
import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.utils import parametrizations

from metafunc import nn as models
from metafunc.types import Model

Apply = Callable[[dict[str, Tensor], Tensor], Tensor]
TASKS, ROWS, LR = 3, 6, 0.3


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(2, 2, 3, padding=1), nn.Conv2d(2, 2, 3, padding=1)
        self.norm = nn.BatchNorm2d(2)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(torch.relu(self.norm(self.first(x))))


class SelfAttention(nn.Module):
    def __init__(self, **options: bool) -> None:
        super().__init__()
        self.options = options
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.attention(x, x, x, **self.options)[0]


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.unembed = nn.Embedding(7, 4), nn.Linear(4, 7, bias=False)
        self.unembed.weight = self.embed.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.unembed(torch.tanh(self.embed(x)).mean(1))


class Function(nn.Module):
    """A linear layer, a function, and a head, inside a sub-module called `block`."""

    def __init__(self, function: Callable[["Function", Tensor], Tensor]) -> None:
        super().__init__()
        self.block = nn.Module()
        self.linear, self.head, self.function = nn.Linear(4, 8), nn.Linear(8, 2), function
        self.scale, self.shift = nn.Parameter(torch.ones(8)), nn.Parameter(torch.zeros(8))
        self.register_buffer("memory", torch.ones(8))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.function(self, torch.tanh(self.linear(x))))


def dense(*middle: nn.Module, width: int = 8) -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), *middle, nn.Tanh(), nn.Linear(width, 2))


def image(*middle: nn.Module, width: int = 4 * 6 * 6) -> nn.Module:
    return nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), *middle, nn.Tanh(), nn.Flatten(), nn.Linear(width, 2))


def signal(*middle: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Conv1d(2, 4, 3, padding=1), *middle, nn.Tanh(), nn.Flatten(), nn.Linear(4 * 6, 2))


def tokens(*middle: nn.Module) -> nn.Module:
    return nn.Sequential(*middle, nn.Flatten(), nn.Linear(20, 2))


def encoder(**options: object) -> nn.Module:
    return nn.TransformerEncoderLayer(4, 2, 8, batch_first=True, **options)  # type: ignore[arg-type]  # a test's brevity


VECTORS, SIGNALS, TOKENS = (4,), (2, 6), (5, 4)
IMAGES, INDICES = (2, 6, 6), None
BATCH = {"batch_norm": "batch"}
CASES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...] | None, dict[str, str]]] = {
    "linear": (lambda: dense(), VECTORS, {}),
    "conv1d": (lambda: signal(), SIGNALS, {}),
    "conv2d": (lambda: image(), IMAGES, {}),
    "layer_norm": (lambda: dense(nn.LayerNorm(8)), VECTORS, {}),
    "layer_norm_2d": (lambda: image(nn.LayerNorm((6, 6))), IMAGES, {}),
    "layer_norm_no_bias": (lambda: dense(nn.LayerNorm(8, bias=False)), VECTORS, {}),
    "rms_norm": (lambda: dense(nn.RMSNorm(8)), VECTORS, {}),
    "batch_norm_1d": (lambda: dense(nn.BatchNorm1d(8)), VECTORS, BATCH),
    "batch_norm_1d_signal": (lambda: signal(nn.BatchNorm1d(4)), SIGNALS, BATCH),
    "batch_norm_2d": (lambda: image(nn.BatchNorm2d(4)), IMAGES, BATCH),
    "batch_norm_without_running": (lambda: image(nn.BatchNorm2d(4, track_running_stats=False)), IMAGES, {}),
    "batch_norm_eval": (lambda: image(warm(nn.BatchNorm2d(4))).eval(), IMAGES, {}),
    "instance_norm": (lambda: image(nn.InstanceNorm2d(4, affine=True)), IMAGES, {}),
    "instance_norm_1d": (lambda: signal(nn.InstanceNorm1d(4, affine=True)), SIGNALS, {}),
    "instance_norm_eval": (
        lambda: image(warm(nn.InstanceNorm2d(4, affine=True, track_running_stats=True))).eval(),
        IMAGES,
        {},
    ),
    "group_norm": (lambda: image(nn.GroupNorm(2, 4)), IMAGES, {}),
    "embedding": (lambda: tokens(nn.Embedding(7, 4), nn.Tanh()), INDICES, {}),
    "embedding_padding": (lambda: tokens(nn.Embedding(7, 4, padding_idx=0), nn.Tanh()), INDICES, {}),
    "attention": (lambda: tokens(SelfAttention()), TOKENS, {}),
    "attention_without_weights": (lambda: tokens(SelfAttention(need_weights=False)), TOKENS, {}),
    "attention_eval": (lambda: tokens(SelfAttention(need_weights=False)).eval(), TOKENS, {}),
    "encoder_layer": (lambda: tokens(encoder(dropout=0.0, activation=F.gelu)), TOKENS, {}),
    "encoder_layer_eval": (lambda: tokens(encoder()).eval(), TOKENS, {}),
    "encoder_layer_eval_norm_first": (lambda: tokens(encoder(norm_first=True)).eval(), TOKENS, {}),
    "max_pool": (lambda: image(nn.MaxPool2d(2), width=36), IMAGES, {}),
    "avg_pool": (lambda: image(nn.AvgPool2d(2), width=36), IMAGES, {}),
    "adaptive_avg_pool": (lambda: image(nn.AdaptiveAvgPool2d(2), width=16), IMAGES, {}),
    "adaptive_max_pool": (lambda: image(nn.AdaptiveMaxPool2d(2), width=16), IMAGES, {}),
    "residual": (lambda: nn.Sequential(Residual(), Residual(), nn.Flatten(), nn.Linear(72, 2)), IMAGES, BATCH),
    "relu_in_place": (lambda: dense(nn.ReLU(inplace=True)), VECTORS, {}),
    "dropout_eval": (lambda: dense(nn.Dropout(0.5), nn.AlphaDropout(0.5)).eval(), VECTORS, {}),
    "dropout_zero": (lambda: dense(nn.Dropout(0.0)), VECTORS, {}),
    "spectral_norm_eval": (lambda: nn.Sequential(parametrizations.spectral_norm(nn.Linear(4, 2))).eval(), VECTORS, {}),
    "weight_norm": (lambda: nn.Sequential(parametrizations.weight_norm(nn.Linear(4, 2)), nn.Tanh()), VECTORS, {}),
    "weight_norm_whole": (lambda: nn.Sequential(parametrizations.weight_norm(nn.Linear(4, 2), dim=None)), VECTORS, {}),
    "weight_norm_conv": (lambda: image(parametrizations.weight_norm(nn.Conv2d(4, 4, 1))), IMAGES, {}),
    "tied": (lambda: Tied(), INDICES, {}),
}


def warm(norm: nn.Module) -> nn.Module:
    """Give a normalisation running statistics that are not 0 and 1."""
    norm(1 + 2 * torch.randn(20, 4, 5, 5))
    return norm


def build(name: str) -> tuple[nn.Module, Model, Tensor]:
    make, shape, options = CASES[name]
    torch.manual_seed(0)
    module = make().double()
    with torch.no_grad():
        for leaf in module.parameters():
            leaf.add_(0.2 * torch.randn_like(leaf))
    x = torch.randint(7, (TASKS, ROWS, 5)) if shape is None else torch.randn(TASKS, ROWS, *shape).double()
    return module, models.from_module(module, reset=False, **options), x


def ordinary(module: nn.Module) -> Apply:
    """The module as torch runs it, with none of the replacements; statistics that it updates are thrown away."""

    def apply(params: dict[str, Tensor], x: Tensor) -> Tensor:
        buffers = {name: leaf.clone() for name, leaf in module.named_buffers()}
        return functional_call(module, {**buffers, **params}, (x,))

    return apply


def query_loss(apply: Apply, params: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
    def loss(params: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return (apply(params, x) - y).square().mean()

    steps = grad(loss)(params, x[:3], y[:3])
    return loss({name: params[name] - LR * steps[name] for name in params}, x[3:], y[3:])


def meta_gradient(apply: Apply, params: dict[str, Tensor], x: Tensor, y: Tensor) -> dict[str, Tensor]:
    """The route that torch gets wrong for some operations: grad over vmap over grad."""
    return grad(lambda params: vmap(lambda x, y: query_loss(apply, params, x, y))(x, y).mean())(params)


def outer_autograd(apply: Apply, params: dict[str, Tensor], x: Tensor, y: Tensor) -> dict[str, Tensor]:
    leaves = {name: leaf.clone().requires_grad_() for name, leaf in params.items()}
    value = vmap(lambda x, y: query_loss(apply, leaves, x, y))(x, y).mean()
    return dict(zip(leaves, torch.autograd.grad(value, list(leaves.values())), strict=True))


def per_task(apply: Apply, params: dict[str, Tensor], x: Tensor, y: Tensor) -> dict[str, Tensor]:
    rows = vmap(lambda x, y: grad(lambda params: query_loss(apply, params, x, y))(params))(x, y)
    return {name: row.mean(0) for name, row in rows.items()}


def by_loop(module: nn.Module, params: dict[str, Tensor], x: Tensor, y: Tensor) -> dict[str, Tensor]:
    """The same by a plain loop and torch.autograd on the ordinary module, attention on its elementary kernel."""
    module = copy.deepcopy(module)
    for part in module.modules():
        # Torch differentiates its own weight normalisation wrongly, in this loop too.
        if isinstance(part, parametrizations._WeightNorm):
            part.forward = lambda g, v, dim=part.dim: normalised_weight(v, g, dim)
    leaves = {name: leaf.clone().requires_grad_() for name, leaf in params.items()}
    names, apply = list(leaves), ordinary(module)

    def derivative(value: Tensor, create_graph: bool) -> list[Tensor]:
        tensors = [leaves[name] for name in names]
        return list(torch.autograd.grad(value, tensors, create_graph=create_graph, materialize_grads=True))

    total = torch.zeros((), dtype=torch.float64)
    with sdpa_kernel(SDPBackend.MATH):
        for task_x, task_y in zip(x, y, strict=True):
            steps = derivative((apply(leaves, task_x[:3]) - task_y[:3]).square().mean(), create_graph=True)
            adapted = {name: leaves[name] - LR * step for name, step in zip(names, steps, strict=True)}
            total = total + (apply(adapted, task_x[3:]) - task_y[3:]).square().mean()
        return dict(zip(names, derivative(total / len(x), create_graph=False), strict=True))


def normalised_weight(v: Tensor, g: Tensor, dim: int) -> Tensor:
    return g * v / torch.norm_except_dim(v, 2, dim)


def by_differences(module: nn.Module, params: dict[str, Tensor], x: Tensor, y: Tensor) -> tuple[float, float]:
    """The ordinary module's derivatives along a direction, from values and from first derivatives, and no others.

    The step is the cube root of the spacing of doubles, which balances a central difference's two errors.
    """
    apply, along, h = ordinary(module), direction(params), torch.finfo(torch.float64).eps ** (1 / 3)

    def slopes(at: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        leaves = {name: leaf.clone().requires_grad_() for name, leaf in at.items()}
        value = (apply(leaves, x) - y).square().mean()
        first = torch.autograd.grad(value, list(leaves.values()), materialize_grads=True)
        return value.detach(), dot(dict(zip(leaves, first, strict=True)), direction(params, 2))

    ahead, behind = (slopes({name: params[name] + sign * h * along[name] for name in params}) for sign in (1, -1))
    return float((ahead[0] - behind[0]) / (2 * h)), float((ahead[1] - behind[1]) / (2 * h))


def by_transforms(apply: Apply, params: dict[str, Tensor], x: Tensor, y: Tensor) -> tuple[float, float]:
    """The same two numbers, each a reverse-mode derivative."""

    def loss(at: dict[str, Tensor]) -> Tensor:
        return (apply(at, x) - y).square().mean()

    along, across = direction(params), direction(params, 2)
    second = grad(lambda at: dot(grad(loss)(at), across))(params)
    return float(dot(grad(loss)(params), along)), float(dot(second, along))


def direction(params: dict[str, Tensor], seed: int = 1) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(leaf.shape, generator=generator).to(leaf) for name, leaf in params.items()}


def dot(first: dict[str, Tensor], second: dict[str, Tensor]) -> Tensor:
    return torch.stack([(first[name] * second[name]).sum() for name in second]).sum()


def distance(first: dict[str, Tensor], second: dict[str, Tensor]) -> float:
    difference = sum((first[name] - second[name]).square().sum() for name in second)
    return float((difference / sum(leaf.square().sum() for leaf in second.values())) ** 0.5)


def problem(name: str) -> tuple[nn.Module, Apply, dict[str, Tensor], Tensor, Tensor]:
    module, model, x = build(name)
    params = model.init(torch.Generator())
    y = torch.randn(TASKS, *model.apply(params, x[0]).shape).double()
    return module, model.apply, params, x, y


@pytest.fixture
def no_fast_path():
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    yield
    torch.backends.mha.set_fastpath_enabled(enabled)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")
def test_the_meta_gradient_is_that_of_a_plain_loop(name, no_fast_path):
    module, apply, params, x, y = problem(name)
    expected = by_loop(module, params, x, y)
    torch.backends.mha.set_fastpath_enabled(True)
    torch.testing.assert_close(apply(params, x[0]), ordinary(module)(params, x[0]), rtol=1e-10, atol=1e-12)
    for route in (meta_gradient, outer_autograd, per_task):
        assert distance(route(apply, params, x, y), expected) < 1e-10, route.__name__


# A central difference at this step is off by the step's square, 4e-11, times third derivatives.
BY_DIFFERENCES = 1e-7


@pytest.mark.parametrize("name", [name for name in CASES if "padding" not in name])
@pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")
def test_both_derivatives_are_those_of_the_values(name, no_fast_path):
    """No second derivative of torch's enters the other side; a padding row has none by definition, whatever it does."""
    module, apply, params, x, y = problem(name)
    expected = by_differences(module, params, x[0], y[0])
    assert by_transforms(apply, params, x[0], y[0]) == pytest.approx(expected, rel=BY_DIFFERENCES, abs=BY_DIFFERENCES)


@pytest.mark.parametrize("name", ["weight_norm", "weight_norm_conv"])
def test_torchs_weight_norm_is_wrong_by_any_route(name):
    """The reason for its replacement: when this fails, torch has mended it."""
    module, _, params, x, y = problem(name)
    first, second = by_transforms(ordinary(module), params, x[0], y[0])
    expected = by_differences(module, params, x[0], y[0])
    assert first == pytest.approx(expected[0], rel=BY_DIFFERENCES)
    assert second != pytest.approx(expected[1], rel=1e-3)


@pytest.mark.parametrize(
    "name", ["layer_norm", "layer_norm_no_bias", "batch_norm_1d", "batch_norm_2d", "instance_norm", "embedding_padding"]
)
def test_torch_alone_is_wrong(name):
    """The reason for the replacements: when this fails, torch has mended it."""
    module, _, params, x, y = problem(name)
    if name.startswith("batch"):
        module = copy.deepcopy(module)
        for part in module.modules():
            if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
                part.running_mean = part.running_var = part.num_batches_tracked = None
                part.track_running_stats = False
    assert distance(meta_gradient(ordinary(module), params, x, y), by_loop(module, params, x, y)) > 1e-3


@pytest.mark.parametrize("name", ["layer_norm", "batch_norm_1d", "encoder_layer_eval"])
def test_hessians_are_those_of_autograd(name):
    module, apply, params, x, y = problem(name)
    small = {name: leaf for name, leaf in params.items() if leaf.ndim == 1}

    def loss(apply: Apply) -> Callable[..., Tensor]:
        return lambda *leaves: (apply({**params, **dict(zip(small, leaves, strict=True))}, x[0]) - y[0]).square().mean()

    argnums = tuple(range(len(small)))
    ours = torch.func.hessian(loss(apply), argnums=argnums)(*small.values())
    with sdpa_kernel(SDPBackend.MATH):
        torchs = torch.autograd.functional.hessian(
            loss(ordinary(module.train() if "batch" in name else module)), tuple(small.values())
        )
    torch.testing.assert_close(ours, torchs, rtol=1e-9, atol=1e-11)


@pytest.mark.compiled
@pytest.mark.parametrize(
    "name",
    ["layer_norm", "batch_norm_2d", "instance_norm", "embedding_padding", "attention_eval", "encoder_layer_eval"],
)
def test_the_compiled_meta_gradient_is_the_eager_one(name):
    _, apply, params, x, y = problem(name)
    torch.compiler.reset()
    compiled = torch.compile(meta_gradient, fullgraph=True, backend="aot_eager")
    assert distance(compiled(apply, params, x, y), meta_gradient(apply, params, x, y)) < 1e-12


def test_running_statistics_are_those_of_the_module():
    module = nn.Sequential(warm(nn.BatchNorm2d(4))).eval()
    x = torch.randn(3, 4, 5, 5)
    model = models.from_module(module, reset=False)
    assert model.normalisation == "none"
    torch.testing.assert_close(model.apply(model.init(torch.Generator()), x), module(x))
    batch = models.from_module(module, reset=False, batch_norm="batch")
    assert batch.normalisation == "transductive"
    torch.testing.assert_close(
        batch.apply(batch.init(torch.Generator()), x), F.batch_norm(x, None, None, training=True)
    )


def test_batch_statistics_are_recorded_without_being_asked_for():
    assert models.from_module(dense(nn.BatchNorm1d(8, track_running_stats=False))).normalisation == "transductive"
    assert models.from_module(dense(nn.LayerNorm(8))).normalisation == "none"


@pytest.mark.parametrize("name", ["residual", "encoder_layer_eval", "embedding_padding"])
def test_neither_the_module_nor_the_arguments_nor_the_global_dice_change(name):
    module, model, x = build(name)
    before = copy.deepcopy(module.state_dict())
    flags = [part.training for part in module.modules()]
    wants = [leaf.requires_grad for leaf in module.parameters()]
    dice = torch.get_rng_state()
    options = CASES[name][2]
    model = models.from_module(module, example_input=x[0], **options)
    params = model.init(torch.Generator().manual_seed(3))
    copies = copy.deepcopy(params)
    first = model.apply(params, x[0])
    assert torch.equal(first, model.apply(params, x[0]))
    assert torch.equal(dice, torch.get_rng_state())
    assert flags == [part.training for part in module.modules()]
    assert wants == [leaf.requires_grad for leaf in module.parameters()]
    for states in ((before, module.state_dict()), (copies, params)):
        assert all(torch.equal(leaf, states[1][key]) for key, leaf in states[0].items())


def test_later_changes_to_the_module_do_not_leak():
    module = dense(nn.BatchNorm1d(8)).eval()
    model = models.from_module(module)
    params, x = model.init(torch.Generator().manual_seed(0)), torch.randn(5, 4)
    before = model.apply(params, x)
    module.train()
    module(10 * torch.randn(50, 4))
    with torch.no_grad():
        for leaf in module.parameters():
            leaf.zero_()
    assert torch.equal(before, model.apply(params, x))


def test_init_resets_every_part_from_the_generator_alone():
    model = models.from_module(nn.Sequential(nn.Linear(4, 4), tokens(SelfAttention()), nn.LayerNorm(2)))
    first, again, other = (model.init(torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    differing = {name for name in first if not torch.equal(first[name], other[name])}
    constant = {"1.0.attention.in_proj_bias", "1.0.attention.out_proj.bias", "2.weight", "2.bias"}
    assert differing == set(first) - constant, "attention zeroes its biases and the norm starts as the identity"
    assert not any(leaf.requires_grad for leaf in first.values())


def test_a_parent_has_the_last_word_over_its_children():
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear, self.own = nn.Linear(2, 1), nn.Parameter(torch.full((1,), 7.0))

        def reset_parameters(self) -> None:
            nn.init.constant_(self.linear.bias, 5.0)

        def forward(self, x: Tensor) -> Tensor:
            return self.linear(x) * self.own

    params = models.from_module(Scaled()).init(torch.Generator().manual_seed(0))
    assert params["linear.bias"].item() == 5.0
    assert params["own"].item() == 7.0, "nothing redraws it"


def test_reset_false_starts_from_the_values_given():
    module = dense()
    params = models.from_module(module, reset=False).init(torch.Generator())
    assert all(torch.equal(leaf, params[name]) for name, leaf in module.named_parameters())
    assert all(leaf.data_ptr() != params[name].data_ptr() for name, leaf in module.named_parameters())


def test_frozen_parameters_are_constants():
    module = dense()
    module[0].requires_grad_(False)
    model = models.from_module(module)
    params, x = model.init(torch.Generator().manual_seed(0)), torch.randn(3, 4)
    assert set(params) == {"2.weight", "2.bias"}
    torch.testing.assert_close(model.apply(params, x), F.linear(torch.tanh(module[0](x)), *params.values()))


def test_shared_parameters_are_one_leaf():
    assert set(models.from_module(Tied()).init(torch.Generator())) == {"embed.weight"}


def test_parameters_must_fit():
    model = models.from_module(dense())
    params = model.init(torch.Generator())
    with pytest.raises(ValueError, match=r"missing \['0.bias'\], unknown \['b'\]"):
        model.apply({("b" if name == "0.bias" else name): leaf for name, leaf in params.items()}, torch.zeros(3, 4))


def test_the_output_must_be_one_tensor():
    model = models.from_module(nn.MultiheadAttention(4, 2), reset=False)
    with pytest.raises(TypeError):
        model.apply(model.init(torch.Generator()), torch.zeros(3, 2, 4))
    pair = Function(lambda _, h: h)
    pair.forward = lambda x: (x, x)  # type: ignore[method-assign]  # the shortest module with two outputs
    model = models.from_module(pair)
    with pytest.raises(TypeError, match="returned a tuple"):
        model.apply(model.init(torch.Generator()), torch.zeros(3, 4))


def compiled_in_place(module: nn.Module) -> nn.Module:
    module.compile()
    return module


REFUSED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "batch_norm": (lambda: dense(nn.BatchNorm1d(8)), r"'1' \(BatchNorm1d\).*\.eval\(\).*batch_norm=\"batch\""),
    "instance_norm": (
        lambda: image(nn.InstanceNorm2d(4, track_running_stats=True)),
        r"'1' \(InstanceNorm2d\).*\.eval\(\).*batch_norm=\"batch\"",
    ),
    "dropout": (lambda: dense(nn.Dropout(0.5)), r"'1' \(Dropout\).*p=0.5.*\.eval\(\)"),
    "alpha_dropout": (lambda: dense(nn.AlphaDropout(0.5)), r"'1' \(AlphaDropout\)"),
    "attention_dropout": (lambda: tokens(nn.MultiheadAttention(4, 2, dropout=0.1)), r"'0' \(MultiheadAttention\)"),
    "encoder_dropout": (lambda: tokens(encoder()), r"'0.self_attn' \(MultiheadAttention\)"),
    "rrelu": (lambda: dense(nn.RReLU()), r"'1' \(RReLU\).*LeakyReLU"),
    "lstm": (lambda: tokens(nn.LSTM(4, 4)), r"'0' \(LSTM\).*nn.Linear"),
    "gru_cell": (lambda: dense(nn.GRUCell(8, 8)), r"'1' \(GRUCell\).*nn.Linear"),
    "embedding_bag": (lambda: nn.Sequential(nn.EmbeddingBag(7, 4)), r"'0' \(EmbeddingBag\).*nn.Embedding"),
    "embedding_max_norm": (lambda: tokens(nn.Embedding(7, 4, max_norm=1.0)), r"'0' \(Embedding\).*leave both off"),
    "embedding_frequency": (lambda: tokens(nn.Embedding(7, 4, scale_grad_by_freq=True)), r"'0' \(Embedding\)"),
    "fractional_pool": (lambda: image(nn.FractionalMaxPool2d(2, 2)), r"'1' \(FractionalMaxPool2d\).*nn.MaxPool2d"),
    "lazy": (lambda: nn.Sequential(nn.LazyLinear(3)), r"'0' \(LazyLinear\).*example batch"),
    "complex": (lambda: nn.Sequential(nn.Linear(2, 2, dtype=torch.complex64)), r"'0' \(Linear\).*complex64"),
    "spectral_norm": (lambda: nn.Sequential(parametrizations.spectral_norm(nn.Linear(2, 2))), r"spectral norm.*eval"),
    "hooked_weight_norm": (lambda: nn.Sequential(nn.utils.weight_norm(nn.Linear(2, 2))), r"'0'.*parametrizations"),
    "scripted": (lambda: nn.Sequential(torch.jit.script(nn.Linear(2, 2))), r"'0'.*out of reach"),
    "compiled": (lambda: nn.Sequential(compiled_in_place(nn.Linear(2, 2))), r"'0'.*compiled"),
    "parallel": (lambda: nn.DataParallel(nn.Linear(2, 2)), r"the module itself \(DataParallel\).*\.module"),
    "no_parameters": (lambda: nn.Sequential(nn.ReLU()), r"Sequential without parameters"),
    "frozen": (lambda: dense().requires_grad_(False), r"requires_grad_"),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")
def test_what_cannot_be_pure_is_refused_by_name(name):
    make, message = REFUSED[name]
    module = make()
    with pytest.raises(ValueError, match=message):
        models.from_module(module)


def test_the_ways_out_of_a_refusal_lead_out():
    module = image(nn.InstanceNorm2d(4, track_running_stats=True), nn.BatchNorm2d(4))
    assert models.from_module(module, batch_norm="batch").normalisation == "transductive"
    assert models.from_module(module.eval()).normalisation == "none"


def test_an_unknown_option_is_refused(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # the tests' annotation hook would come first
    with pytest.raises(ValueError, match=r"'refuse', 'batch', not 'on'"):
        models.from_module(dense(), batch_norm="on")


def write(module: Function, h: Tensor) -> Tensor:
    module.memory.mul_(0.9)
    return h * module.memory


def assign(module: Function, h: Tensor) -> Tensor:
    module.memory = module.memory * 0.9
    return h


def bypass(module: Function, h: Tensor) -> Tensor:
    return torch.ops.aten.native_layer_norm(h, (8,), module.scale, module.shift, 1e-5)[0]


FUNCTIONS: dict[str, tuple[Callable[[Function, Tensor], Tensor], str, bool]] = {
    "dropout": (lambda _, h: F.dropout(h, 0.5), "dropout with p=0.5", True),
    "noise": (lambda _, h: h + torch.randn_like(h), "randn_like draws", True),
    "noise_in_place": (lambda _, h: h + torch.empty(8, dtype=h.dtype).normal_(), "normal_ draws", True),
    "gumbel": (lambda _, h: F.gumbel_softmax(h), "gumbel_softmax draws", True),
    "attention_dropout": (
        lambda _, h: F.scaled_dot_product_attention(h[None], h[None], h[None], dropout_p=0.5)[0],
        "dropout_p=0.5",
        True,
    ),
    "running": (lambda m, h: F.batch_norm(h, m.memory, m.memory, training=True), "batch_norm", True),
    "batch": (lambda _, h: F.batch_norm(h, None, None, training=True), 'batch_norm="batch"', True),
    "bypassing": (lambda m, h: torch.layer_norm(h, (8,), m.scale, m.shift), "torch.layer_norm", True),
    "write": (write, "forward writes to 0.memory", True),
    "assign": (assign, "changes the buffers 0.memory", False),
    "no_second_derivative": (lambda _, h: h * torch.cdist(h, h).sum(-1, keepdim=True), "_cdist_backward", False),
    "wrong_second_derivative": (bypass, "off by a relative", False),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_an_example_shows_what_the_parts_do_not(name):
    function, message, at_first_call = FUNCTIONS[name]
    module = nn.Sequential(Function(function))
    with pytest.raises(ValueError, match=message) as error:
        models.from_module(module, example_input=torch.randn(5, 4))
    if at_first_call:
        assert "sub-module '0'" in str(error.value) or "0.memory" in str(error.value)
        model = models.from_module(module)
        with pytest.raises(ValueError, match=message):
            model.apply(model.init(torch.Generator()), torch.randn(5, 4))


@pytest.mark.parametrize("name", ["residual", "layer_norm", "encoder_layer_eval", "embedding_padding", "tied"])
def test_a_good_module_passes_its_trial(name):
    module, _, x = build(name)
    models.from_module(
        module.float(), example_input=x[0] if not x.is_floating_point() else x[0].float(), **CASES[name][2]
    )


def test_a_module_in_float32_has_float32_leaves():
    params = models.from_module(dense()).init(torch.Generator())
    assert {leaf.dtype for leaf in params.values()} == {torch.float32}
