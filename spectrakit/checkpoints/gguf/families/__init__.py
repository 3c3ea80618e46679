"""The families of models whose GGUF files are read as those of transformers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spectrakit.checkpoints.gguf.families.attention import ATTENTION
from spectrakit.checkpoints.gguf.families.delta import DELTA
from spectrakit.checkpoints.gguf.families.hybrids import HYBRIDS
from spectrakit.checkpoints.gguf.families.mamba import MAMBAS
from spectrakit.checkpoints.gguf.families.nemotron import NEMOTRON
from spectrakit.checkpoints.gguf.families.rwkv import RWKV

if TYPE_CHECKING:
    from spectrakit.checkpoints.gguf.naming import GGUFFamily

FAMILIES: tuple[GGUFFamily, ...] = (*MAMBAS, *HYBRIDS, NEMOTRON, *DELTA, *RWKV, *ATTENTION)

#: Keys of a config that GGUF has none for, by model type: the family's usual value is taken.
UNSAID = {
    "mamba2": ("time_step_limit",),
    "bamba": ("time_step_limit",),
    "granitemoehybrid": ("time_step_limit",),
    "falcon_h1": ("time_step_limit",),
    "nemotron_h": ("time_step_limit",),
    "kimi_linear": ("linear_attn_config.gate_lower_bound",),
    "llama": ("sliding_window",),
    "gemma2": ("query_pre_attn_scalar",),
    "gemma3_text": ("query_pre_attn_scalar",),
}


def family_of(architecture: str) -> GGUFFamily | None:
    """The family that llama.cpp calls `architecture`; None for one that is not read here."""
    return next((each for each in FAMILIES if architecture in each.architectures), None)
