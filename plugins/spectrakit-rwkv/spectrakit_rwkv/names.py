"""What the parameters of a time mixing are called inside `blocks.N.att.`, by role.

time_mix_*                   RWKV-4 and 5: weights of the token itself
time_maa_*                   RWKV-6: weights of the token before; time_maa_w1, w2 make them vary
x_*                          RWKV-7: weights of the token before
time_first, time_faaaa       the bonus of RWKV-4; of RWKV-5, as its logarithm or as it is
w*, a*, v*, g*               RWKV-7: of the decay, the rate, the residual of values, the gate
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

_LETTERS = {
    "receptance": "r",
    "key": "k",
    "value": "v",
    "gate": "g",
    "decay": "w",
    "rate": "a",
}
_PROJECTIONS = {name: f"{name}.weight" for name in ("receptance", "key", "value", "output")}
_NORM = {"norm": "ln_x.weight", "norm_bias": "ln_x.bias"}


def _mixes(names: Sequence[str], prefix: str) -> dict[str, str]:
    return {f"mix_{name}": prefix + _LETTERS[name] for name in names}


RWKV4_NAMES: Mapping[str, str] = {
    "time_decay": "time_decay",
    "first": "time_first",
    **_PROJECTIONS,
    **_mixes(("receptance", "key", "value"), "time_mix_"),
}

#: Of version 5.0; the name of the bonus comes to it.
RWKV5_NAMES: Mapping[str, str] = {
    "time_decay": "time_decay",
    **_PROJECTIONS,
    **_NORM,
    **_mixes(("receptance", "key", "value"), "time_mix_"),
}

#: What later ones of RWKV-5 have beside it.
GATE_NAMES: Mapping[str, str] = {"gate": "gate.weight", **_mixes(("gate",), "time_mix_")}

RWKV6_NAMES: Mapping[str, str] = {
    "time_decay": "time_decay",
    "decay_down": "time_decay_w1",
    "decay_up": "time_decay_w2",
    "bonus": "time_faaaa",
    "mix": "time_maa_x",
    "shift_down": "time_maa_w1",
    "shift_up": "time_maa_w2",
    "gate": "gate.weight",
    **_PROJECTIONS,
    **_NORM,
    **_mixes(("decay", "key", "value", "receptance", "gate"), "time_maa_"),
}

#: Of the first layer; the others add those of the residual of values.
RWKV7_NAMES: Mapping[str, str] = {
    "decay_bias": "w0",
    "decay_down": "w1",
    "decay_up": "w2",
    "rate_bias": "a0",
    "rate_down": "a1",
    "rate_up": "a2",
    "gate_down": "g1",
    "gate_up": "g2",
    "removal": "k_k",
    "replacement": "k_a",
    "bonus": "r_k",
    **_PROJECTIONS,
    **_NORM,
    **_mixes(("receptance", "key", "value", "decay", "rate", "gate"), "x_"),
}

RESIDUAL_NAMES: Mapping[str, str] = {"value_bias": "v0", "value_down": "v1", "value_up": "v2"}
