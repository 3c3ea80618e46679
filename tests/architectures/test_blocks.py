"""The block of a layer, which says at which depths of the residual stream the layer stands."""

from __future__ import annotations

import numpy as np
import pytest

import spectrakit as sk
from spectrakit.architectures.residual_stream import block_number
from spectrakit.token_options import TokenOptions
from tests.families.mamba_hybrids import FAMILIES


@pytest.mark.parametrize(("path", "block"), [
    ("model.layers.3.self_attn", 3), ("blocks.12", 12), ("layers.0.branches.1", 0), ("s4", None),
])  # fmt: skip
def test_it_is_the_first_number_of_the_path(path, block):
    assert block_number(path) == block


def test_it_joins_layers_with_depths_in_a_hybrid(tmp_path):
    (family,) = (family for family in FAMILIES if family.model_type == "nemotron_h")
    folder = family.write(tmp_path)  # its blocks are M * - M E: three of five have a layer
    ids = tmp_path / "ids.npy"
    np.save(ids, family.token_ids().numpy())
    source = TokenOptions(tokens=ids)
    run = sk.analyze(str(folder), analyses="propagation", source=source)
    layers = {row["layer"]: row["block"] for row in run.table("layers").to_pylist()}
    assert layers == {0: 0, 1: 1, 2: 3}
    depths = set(run.table("propagation")["depth"].to_pylist())
    assert depths == set(range(6))  # before the first of five blocks, and after each
