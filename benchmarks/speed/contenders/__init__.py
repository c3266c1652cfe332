"""Who takes part in what. Each module has `train(work, on_step, option)`, which makes `work.outer_steps` updates.

`on_step` is called after every update with the parameters, when they are there; it raises when enough is enough.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Contender:
    """A way to do the work.

    Args:
        module: the file in this folder.
        option: which of its forms.
        needs: packages that it imports; without them it is skipped, and the table says so.
    """

    module: str
    option: str = ""
    needs: tuple[str, ...] = ()


CONTENDERS = {
    "metafunc": Contender("with_metafunc", "auto"),
    "metafunc eager": Contender("with_metafunc", "off"),
    "metafunc from_module": Contender("with_metafunc", "module"),
    "task loop": Contender("loop"),
    "learn2learn": Contender("with_learn2learn", needs=("learn2learn",)),
    "higher": Contender("with_higher", needs=("higher",)),
    "torchopt": Contender("with_torchopt", needs=("torchopt",)),
    "JAX": Contender("with_jax", needs=("jax", "optax")),
    "JAX best": Contender("with_jax_best", needs=("jax", "optax")),
}

STEIN = ("metafunc", "metafunc eager", "task loop", "JAX", "JAX best")
"""Those who take part in Stein variational gradient descent, which the other libraries do not have."""


def who(*, particles: bool, images: bool) -> list[str]:
    """Everyone who takes part in a workload."""
    names = list(STEIN if particles else CONTENDERS)
    return [name for name in names if images or name != "metafunc from_module"]
