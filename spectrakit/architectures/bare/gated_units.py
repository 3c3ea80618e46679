"""RG-LRU, the time mixing of RWKV-4 to 7, and the mLSTM.

RG-LRU   X.recurrent_param (D,), X.recurrent_gate_weight (blocks, w, w), ..._bias (blocks, w)
RWKV     see `spectrakit.architectures.rwkv_files`
mLSTM    X.fgate_preact.bias (H,) of xLSTM-7b, or X.ifgate_preact.bias (2 H,), with X.q.weight
         X.mlstm_cell.fgate.bias (H,), with X.mlstm_cell.fgate.weight (H, 3 H P), of xLSTM
sLSTM    X._recurrent_kernel_: its state passes a nonlinearity, so that there is no A
"""

from __future__ import annotations

import math

from spectrakit.architectures.bare.parts import Place, Recognised
from spectrakit.architectures.options import Option
from spectrakit.architectures.rwkv_files import time_mixing
from spectrakit.architectures.transformers_recurrent_gemma import RG_LRU_NAMES
from spectrakit.errors import MalformedError
from spectrakit.mixers import MLSTM, RGLRU

SOFT_CAP = Option("gate_soft_cap", (float,))
_USUAL_CAP = 15.0
#: A cap that leaves every number as it is.
_UNCAPPED = 1e30


def rg_lru(place: Place) -> Recognised | None:
    """By the unit's own parameter and the gates'."""
    channels = math.prod(place.shape("recurrent_param"))
    blocks, width = (*place.shape("recurrent_gate_bias"), 0, 0)[:2]
    if not channels or blocks * width != channels or not place.has(*RG_LRU_NAMES.values()):
        return None
    mixer = RGLRU(channels, blocks)
    return Recognised(mixer.name, mixer, place.named(RG_LRU_NAMES))


def rwkv(place: Place) -> Recognised | None:
    """By the names inside a block's time mixing, whatever the block is called."""
    if not (place.has("time_decay") or place.has("w0", "r_k")):
        return None
    try:
        mixer, role, name = time_mixing(place.source, place.path)
    except MalformedError:
        return None
    return Recognised(mixer.name, mixer, {role: place.full(name)})


def capped_mlstm(place: Place) -> Recognised | None:
    """xLSTM-7b's, whose gates have a soft cap."""
    fused = place.has("ifgate_preact.bias")
    gate = "ifgate_preact.bias" if fused else "fgate_preact.bias"
    heads = place.size(gate, 0) // (2 if fused else 1)
    keys, values = place.size("q.weight", 0), place.size("v.weight", 0)
    if not heads or not keys or keys % heads or values % heads:
        return None
    cap, told = place.option(SOFT_CAP, _USUAL_CAP)
    assert isinstance(cap, int | float)  # noqa: S101  (the option's choices)
    mixer = MLSTM(heads, keys // heads, values // heads, soft_cap=float(cap), fused=fused)
    note = None if told else f"gate_soft_cap is not in the weights: taken as {_USUAL_CAP:g}"
    return Recognised(mixer.name, mixer, {"gate_bias": place.full(gate)}, note)


def mlstm(place: Place) -> Recognised | None:
    """The mLSTM of the xlstm library, whose gates see q, k and v side by side."""
    heads, inputs = (*place.shape("fgate.weight"), 0, 0)[:2]
    if not heads or place.shape("fgate.bias") != (heads,) or inputs % (3 * heads):
        return None
    width = inputs // 3 // heads
    mixer = MLSTM(heads, width, width, soft_cap=_UNCAPPED)
    return Recognised(mixer.name, mixer, {"gate_bias": place.full("fgate.bias")})


def slstm(_: Place) -> Recognised | None:
    """Listed, and not read."""
    return Recognised("slstm", note="its state passes a nonlinearity: there is no A to read")
