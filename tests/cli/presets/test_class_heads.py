"""Exact class heads are presets on one protocol, so that what differs between them is the head."""

from dataclasses import replace

import pytest
from metafunc_cli.presets.all import PRESETS

BY_NAME = {preset.name: preset for preset in PRESETS}


@pytest.mark.parametrize("head", ["pcoc", "metaqda"])
def test_a_head_differs_from_protonet_in_nothing_else(head: str) -> None:
    usual, found = BY_NAME["protonet-omniglot"], BY_NAME[f"{head}-omniglot"]
    assert found == replace(usual, name=found.name, algorithm=head, source=found.source)
    assert found.source.startswith("our own: ")
