"""Gated DeltaNet and Kimi delta attention, as fla and transformers write them.

    Gated DeltaNet   X.A_log (H,), X.dt_bias (H,), and X.o_norm.weight or X.norm.weight (P,)
    KDA              X.A_log of H entries, X.dt_bias (H N,), and X.o_norm.weight (P,)

H heads, N key width, P value width. No D, which Mamba-2 has. How many heads share a key is not in
the weights; the spectrum's multiplicities depend on N alone.
"""

from __future__ import annotations

import math

from spectrakit.architectures.bare.parts import Place, Recognised
from spectrakit.architectures.options import Option
from spectrakit.architectures.transformers_delta import DELTA_NAMES
from spectrakit.mixers import GatedDeltaNet, KimiDelta

LOWER_BOUND = Option("gate_lower_bound", (None, float))
_NORMS = ("o_norm.weight", "norm.weight")


def delta_rule(place: Place) -> Recognised | None:
    """By the number of step biases: one for every head, or one for every key channel."""
    heads, biases = math.prod(place.shape("A_log")), math.prod(place.shape("dt_bias"))
    value = next((place.size(name, 0) for name in _NORMS if place.has(name)), 0)
    if place.has("D") or not place.shape("dt_bias") or not heads or biases % heads or not value:
        return None
    return _gated(place, heads, value) if biases == heads else _kimi(place, heads, value)


def _gated(place: Place, heads: int, value: int) -> Recognised | None:
    keys = place.size("k_proj.weight", 0)
    if place.has("in_proj_qkvz.weight") or place.has("in_proj_qkv.weight"):  # of transformers
        keys = (place.size("conv1d.weight", 0) - heads * value) // 2
    # Keys are as wide as values where that makes whole heads, as in every published model.
    state = value if keys and not keys % value else keys // heads
    if keys <= 0 or not state or keys % state:
        return None
    mixer = GatedDeltaNet(heads, value, state, groups=keys // state)
    note = f"keys of width {state}, if {keys // state} heads of keys make {keys} channels"
    return Recognised(mixer.name, mixer, place.named(DELTA_NAMES), note)


def _kimi(place: Place, heads: int, value: int) -> Recognised:
    bound, told = place.option(LOWER_BOUND, None)
    assert bound is None or isinstance(bound, int | float)  # noqa: S101  (the option's choices)
    width = math.prod(place.shape("dt_bias")) // heads
    mixer = KimiDelta(heads, value, width, rate_shape=place.shape("A_log"), lower_bound=bound)
    note = None if told else "gate_lower_bound is not in the weights: taken as none"
    return Recognised(mixer.name, mixer, place.named(DELTA_NAMES), note)
