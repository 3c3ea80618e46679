"""The time mixing of RWKV-7 written out, around the recurrence of `rwkv7`.

    x_t^i         = x_t + m_i (x_{t-1} - x_t)                             i of r, w, k, v, a, g
    r_t, K_t, V_t = W_r x_t^r, W_k x_t^k, W_v x_t^v
    log w_t       = -e^{-1/2} sigmoid(decay_bias + tanh(x_t^w W_1) W_2)
    a_t           = sigmoid(rate_bias + x_t^a A_1 A_2)
    c_t           = removal K_t, each head of it scaled to length one
    k_t           = K_t (1 + replacement (a_t - 1))
    v_t           = V_t + sigmoid(value_bias + x_t^v V_1 V_2) (V'_t - V_t)
    g_t           = sigmoid(x_t^g G_1) G_2
    output_t      = W_o ((norm(y_t) + (r_t . (bonus k_t)) v_t) g_t)

y_t (B, T, H, N) of r, k, v, w, c and a. V' is V of the model's first layer, whose own v is V. B
batch, T tokens, H heads, N width of a head, A = H N, E model width; products with m_i (E,),
`removal`, `replacement` (A,) and `bonus` (H, N) are entry by entry. The norm is a layer norm of
every head. Peng et al. 2025 (arXiv 2503.14456), section 4.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import
from spectrakit.mixers.base import Observation
from spectrakit.mixers.layers import head_norm, in_heads, token_before
from spectrakit.mixers.rwkv7 import RWKV7

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torch.nn import functional

    from spectrakit.mixers.base import Parameters
else:
    torch = lazy_import("torch")
    functional = lazy_import("torch.nn.functional")

_PROJECTED = ("receptance", "key", "value")
#: What is mixed with the token before.
MIXED = (*_PROJECTED, "decay", "rate", "gate")


@dataclass(frozen=True, kw_only=True)
class RWKV7Layer(RWKV7):
    """H `heads` of width `state_size` N in a model of `model_width` E.

    decay_rank, rate_rank, gate_rank: of the products of two matrices. value_rank: the same; None in
    the first layer, and in one that takes no value of the first.
    """

    model_width: int
    decay_rank: int
    rate_rank: int
    gate_rank: int
    value_rank: int | None

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shape of every parameter in the file, by role."""
        channels, width = self.heads * self.state_size, self.model_width
        shapes = {
            **super().shapes(),
            "bonus": (self.heads, self.state_size),
            "norm": (channels,),
            "norm_bias": (channels,),
            "output": (width, channels),
        }
        ranks = {"decay": self.decay_rank, "rate": self.rate_rank, "gate": self.gate_rank}
        biases = ["decay_bias", "rate_bias", "removal", "replacement"]
        if self.value_rank is not None:
            ranks["value"] = self.value_rank
            biases.append("value_bias")
        for name, rank in ranks.items():
            shapes |= {f"{name}_down": (width, rank), f"{name}_up": (rank, channels)}
        shapes |= dict.fromkeys(biases, (1, 1, channels))
        shapes |= dict.fromkeys([f"mix_{name}" for name in MIXED], (1, 1, width))
        return shapes | dict.fromkeys(_PROJECTED, (channels, width))

    def first_value(self, hidden: Tensor, p: Parameters) -> Tensor:
        """V_t (B, T, A) on the layer's input `hidden` (B, T, E): V' where it is the first layer."""
        mixed = torch.lerp(hidden, token_before(hidden), p["mix_value"])
        return functional.linear(mixed, p["value"])

    def from_input(self, hidden: Tensor, p: Parameters) -> Observation:
        """The layer's equations on `hidden` (B, T, E), in its dtype but for the recurrence.

        p: with V' (B, T, A) under `first_value`, unless it is the first layer.
        """
        before = token_before(hidden)
        mixed = {name: torch.lerp(hidden, before, p[f"mix_{name}"]) for name in MIXED}
        receptance, key, value = (functional.linear(mixed[name], p[name]) for name in _PROJECTED)
        decay = torch.tanh(mixed["decay"] @ p["decay_down"]) @ p["decay_up"]
        rate = torch.sigmoid(p["rate_bias"] + mixed["rate"] @ p["rate_down"] @ p["rate_up"])
        gate = torch.sigmoid(mixed["gate"] @ p["gate_down"]) @ p["gate_up"]
        if self.value_rank is not None:
            share = torch.sigmoid(
                p["value_bias"] + mixed["value"] @ p["value_down"] @ p["value_up"]
            )
            value = torch.lerp(value, p["first_value"], share)
        removal = functional.normalize(in_heads(key * p["removal"], self.heads), dim=-1)
        key = key * (1 + (rate - 1) * p["replacement"])
        receptance, key, value, rate, decay = (
            in_heads(x, self.heads) for x in (receptance, key, value, rate, p["decay_bias"] + decay)
        )
        present = ((receptance * key * p["bonus"]).sum(-1, keepdim=True) * value).flatten(-2)

        def finish(y: Tensor) -> Tensor:
            summed = (head_norm(y, p) + present).to(hidden.dtype)
            return functional.linear(summed * gate, p["output"])

        recurrence = self.observed(receptance, key, self.log_decay(decay), removal, rate)
        return Observation(recurrence, value, finish)
