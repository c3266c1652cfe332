"""What the command line knows of a builder without importing it: the type of `generated.py`'s tables."""

from dataclasses import dataclass

VECTORS = "mlp"
"""The network that takes vectors as well as images."""


@dataclass(frozen=True)
class Row:
    """An algorithm, a task family or a network.

    Args:
        fields: the dataclass of its hyperparameters.
        summary: one line.
        kinds: the kinds of tasks that an algorithm takes or that a family has.
        model: the network that is usual on a family.
        trains: whether meta-training changes anything; if not, one outer step is all that is taken.
        over_vectors: whether one of an algorithm's networks, which are all made alike, is over vectors where inputs are
            images, so that a network of convolutions will not do.
    """

    fields: type
    summary: str
    kinds: tuple[str, ...] = ("regression", "classification")
    model: str = "mlp"
    trains: bool = True
    over_vectors: bool = False
