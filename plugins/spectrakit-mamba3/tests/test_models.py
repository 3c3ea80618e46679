"""Whole models of both libraries, written out from the tensors' published names."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from spectrakit_mamba3.examples import CHECKPOINTS, HEAVY_TAIL, MIMO, SOFTPLUS
from spectrakit_mamba3.quadratic import quadratic_form

import spectrakit as sk
from spectrakit.architectures.written_out import ForwardPass

#: What a tensor of either library's module Mamba3 is, by its name there.
ROLES = {
    "in_proj.weight": "input_projection",
    "in_proj.bias": "input_projection_bias",
    "dt_bias": "step_bias",
    "B_bias": "key_bias",
    "C_bias": "query_bias",
    "B_norm.weight": "key_norm",
    "C_norm.weight": "query_norm",
    "D": "D",
    "norm.weight": "norm",
    "mimo_x": "input_ranks",
    "mimo_z": "gate_ranks",
    "mimo_o": "output_ranks",
    "out_proj.weight": "output_projection",
    "out_proj.bias": "output_projection_bias",
}


def written_out(mixer, weights, tokens, *, embedding, epsilon):
    """Two blocks in float64, each mixer over all pairs of tokens."""

    def normed(x, name):
        return x / ((x**2).mean(-1, keepdim=True) + epsilon).sqrt() * weights[f"{name}.weight"]

    hidden = weights[embedding][tokens]
    for number in range(2):
        block = f"backbone.layers.{number}"
        prefix = f"{block}.mixer."
        p = {ROLES[n.removeprefix(prefix)]: w for n, w in weights.items() if n.startswith(prefix)}
        hidden = hidden + quadratic_form(mixer, normed(hidden, f"{block}.norm"), p)
    return normed(hidden, "backbone.norm_f")


@pytest.mark.parametrize(
    ("name", "mixer", "around"),
    [
        ("mamba_ssm", HEAVY_TAIL, {"embedding": "backbone.embedding.weight", "epsilon": 1e-5}),
        ("mamba_ssm MIMO", MIMO, {"embedding": "backbone.embedding.weight", "epsilon": 1e-5}),
        ("fla", SOFTPLUS, {"embedding": "backbone.embeddings.weight", "epsilon": 1e-4}),
    ],
)
def test_a_model_is_its_blocks_written_out(name, mixer, around, tmp_path):
    form = {"a_form": mixer.a_form}
    tokens = torch.arange(2 * 70).view(2, 70)
    with sk.open_checkpoint(str(CHECKPOINTS[name][0](tmp_path / "model")), config=form) as model:
        weights = model.checkpoint.read(model.checkpoint.tensors)
        runnable = model.architecture.load(model.checkpoint, "cpu", "float64")
        found = runnable.hidden_states(tokens, ForwardPass(runnable))
    wide = {n: w.double() for n, w in weights.items()}
    # Both are in float64; fla's norms of the mixers have the epsilon of its config too.
    mixer = replace(mixer, norm_epsilon=around["epsilon"])
    torch.testing.assert_close(found, written_out(mixer, wide, tokens, **around))
