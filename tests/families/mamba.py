"""Mamba, FalconMamba and Mamba-2."""

from tests.families.base import Family

_SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 4}

FAMILIES = (
    Family("mamba", ("mamba",) * 2, {**_SIZES}),
    Family("falcon_mamba", ("mamba",) * 2, {**_SIZES}),
    Family(
        "mamba2",
        ("mamba2",) * 2,
        {**_SIZES, "num_heads": 8, "head_dim": 8, "n_groups": 2, "chunk_size": 8},
    ),
)
