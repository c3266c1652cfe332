"""What `metafunc check` asks for."""

from dataclasses import dataclass
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from metafunc_cli.settings.options import Switch


@dataclass(frozen=True)
class Checking:
    """What to check, and on what."""

    target: Annotated[str, Positional, arg(metavar="TARGET", help_behavior_hint="")]
    """package.module:name, or an algorithm."""
    params: Annotated[str | None, arg(metavar="NAME", help_behavior_hint="")] = None
    """package.module:factory of a loss's parameters."""
    batch: Annotated[str | None, arg(metavar="NAME", help_behavior_hint="")] = None
    """package.module:factory of a loss's batch, or of a learner's stacked tasks."""
    input_shape: Annotated[str | None, arg(metavar="3,32,32", help_behavior_hint="")] = None
    """shape of one input row, without the batch axis; by default net.example_input, or what the first layers take."""
    input_dtype: Annotated[Literal["float", "int"] | None, arg(help_behavior_hint="")] = None
    """int for indices into an embedding; by default floats where a forward takes them."""
    first_order: Switch = False
    """the learner stops gradients on purpose: do not ask whether its meta-gradient is the derivative of its loss."""
    coherence: Switch = False
    """measure instead how far an algorithm's predictions are from those of one exchangeable model; exit code 1 where it
    claims to be one and is not."""
    json: Switch = False
    """print the result as one JSON object on stdout, and all else on stderr."""
    quiet: Switch = False
    """no progress."""
