"""Mamba, FalconMamba and Mamba-2.

FalconMamba is called mamba in GGUF too, with `ssm.dt_b_c_rms`: its steps, B and C are normalised.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spectrakit.checkpoints.gguf.families.common import (
    RMS_EPSILON,
    expansion,
    mamba2_keys,
    mamba2_parts,
    mamba_names,
    mamba_parts,
    size_keys,
)
from spectrakit.checkpoints.gguf.naming import GGUFFamily, Naming

if TYPE_CHECKING:
    from spectrakit.checkpoints.gguf.metadata import Metadata

_OUTSIDE = {
    "token_embd": "backbone.embeddings",
    "output_norm": "backbone.norm_f",
    "output": "lm_head",
}


def _shared_keys(metadata: Metadata) -> dict[str, Any]:
    return size_keys(metadata) | {
        "state_size": metadata.count("ssm.state_size"),
        "conv_kernel": metadata.count("ssm.conv_kernel"),
        "expand": expansion(metadata),
        "layer_norm_epsilon": metadata.number(RMS_EPSILON),
        "use_conv_bias": metadata.has("ssm_conv1d.bias"),
        "use_bias": metadata.has("ssm_in.bias"),
    }


def _mamba(metadata: Metadata) -> dict[str, Any]:
    return _shared_keys(metadata) | {
        "model_type": "falcon_mamba" if metadata.flag("ssm.dt_b_c_rms") else "mamba",
        "intermediate_size": metadata.count("ssm.inner_size"),
        "time_step_rank": metadata.count("ssm.time_step_rank"),
    }


def _mamba2(metadata: Metadata) -> dict[str, Any]:
    keys = mamba2_keys(metadata)
    return _shared_keys(metadata) | {
        "model_type": "mamba2",
        "num_heads": keys["mamba_n_heads"],
        "head_dim": keys["mamba_d_head"],
        "n_groups": keys["mamba_n_groups"],
    }


def _names() -> dict[str, str]:
    return {"attn_norm": "norm", **mamba_names("mixer")}


MAMBAS = (
    GGUFFamily(
        ("mamba",),
        _mamba,
        lambda _: Naming("backbone.layers.", _OUTSIDE, _names(), lambda *_: mamba_parts("mixer")),
    ),
    GGUFFamily(
        ("mamba2",),
        _mamba2,
        lambda _: Naming("backbone.layers.", _OUTSIDE, _names(), lambda *_: mamba2_parts("mixer")),
    ),
)
