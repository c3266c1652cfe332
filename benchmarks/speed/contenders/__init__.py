"""Who takes part in what. Each module has `train(work, on_step, option)`, which makes `work.outer_steps` updates.

`on_step` is called after every update with the parameters, when they are there; it raises when enough is enough.
"""

from dataclasses import dataclass

from benchmarks.speed.workloads import Workload


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
    "GPyTorch": Contender("with_gpytorch", needs=("gpytorch",)),
    "torch batch": Contender("with_torch_transformer"),
    "JAX": Contender("with_jax", needs=("jax", "optax")),
    "JAX best": Contender("with_jax_best", needs=("jax", "optax")),
}

EVERYWHERE = ("metafunc", "metafunc eager", "task loop", "JAX", "JAX best")
"""Those who take part in what the libraries of MAML do not have: Stein variational gradient descent, and learners that
adapt without steps."""
ALONE = {"tnp": "torch batch", "dkt": "GPyTorch"}
"""Those who take part in one of them alone."""

JAX = ("JAX", "JAX best")
"""For which a residual network was not written."""


def who(work: Workload) -> list[str]:
    """Everyone who takes part in a workload."""
    if work.num_particles or work.learner != "maml":
        return [name for name in CONTENDERS if name in EVERYWHERE or name == ALONE.get(work.learner)]
    absent = {*ALONE.values(), *(() if work.images else ["metafunc from_module"]), *(JAX if work.residual else ())}
    return [name for name in CONTENDERS if name not in absent]
