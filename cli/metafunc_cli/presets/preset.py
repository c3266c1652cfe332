"""What a preset is, and the protocols that many papers share."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Settings = Mapping[str, Any]

PAPER_INIT: Settings = {"initialisation": "truncated_normal"}


@dataclass(frozen=True)
class Preset:
    """Settings by name; what is not set here is the builder's default.

    Args:
        name: for `--preset`.
        algorithm: a name, as are `tasks` and `model`.
        source: where the settings are from.
        hyper: the algorithm's settings.
        data: the family's.
        network: the network's.
        training: the outer loop's.
    """

    name: str
    algorithm: str
    tasks: str
    model: str
    source: str
    hyper: Settings = field(default_factory=dict)
    data: Settings = field(default_factory=dict)
    network: Settings = field(default_factory=dict)
    training: Settings = field(default_factory=dict)


FINN = "Finn, Abbeel, Levine (2017)"


def sinusoid(name: str, algorithm: str, source: str, **sections: Settings) -> Preset:
    """The protocol of MAML's sinusoids: 10 points, 25 tasks, 70,000 steps of Adam at .001, two layers of 40."""
    return Preset(
        name,
        algorithm,
        "sinusoid",
        "mlp",
        source,
        hyper=sections.get("hyper", {}),
        data={"num_shots": 10, "num_queries": 10, **sections.get("data", {})},
        network={"hidden": (40, 40), **sections.get("network", PAPER_INIT)},
        training={"steps": 70_000, "num_tasks": 25, "outer_lr": 1e-3, "validate_every": 5000}
        | dict(sections.get("training", {})),
    )


def omniglot(name: str, algorithm: str, source: str, ways: int, shots: int, **sections: Any) -> Preset:
    """The protocol of MAML's Omniglot: as many queries as shots, 60,000 steps of Adam at .001, 64 strided filters."""
    return Preset(
        name,
        algorithm,
        sections.get("tasks", "omniglot"),
        sections.get("model", "conv4"),
        source,
        hyper=sections.get("hyper", {}),
        data={"num_ways": ways, "num_shots": shots, "num_queries": shots, **sections.get("data", {})},
        network=sections.get("network", {"filters": 64, "pooling": "stride"}),
        training={"steps": 60_000, "num_tasks": 32 if ways == 5 else 16, "outer_lr": 1e-3, "validate_every": 1000}
        | dict(sections.get("training", {})),
    )
