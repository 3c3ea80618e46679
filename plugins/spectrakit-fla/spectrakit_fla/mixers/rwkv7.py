"""RWKV-7 as fla has it: the recurrence of `spectrakit.mixers.rwkv7`.

    x_t^i    = x_t + mix_i (x_{t-1} - x_t)                           i of r, w, k, v, a, g
    r_t, K_t = W_r x_t^r, W_k x_t^k                                  (B, T, H, N) each
    V_t      = W_v x_t^v                                             (B, T, H, P)
    log w_t  = -e^{-1/2} sigmoid(low_rank_w(x_t^w))                  (B, T, H, N)
    a_t      = sigmoid(low_rank_a(x_t^a))                            (B, T, H, N)
    c_t      = removal K_t, each head of it scaled to length one     (B, T, H, N)
    k_t      = K_t (1 + replacement (a_t - 1))                       (B, T, H, N)
    v_t      = V_t + sigmoid(low_rank_v(x_t^v)) (V'_t - V_t)         (B, T, H, P)
    output_t = W_o ((norm(y_t) + (r_t . (bonus k_t)) v_t) low_rank_g(x_t^g))

B batch, T tokens, E model width, H heads, N key width, P value width. V' is V of the model's first
layer, whose own v is V. The norm is a layer norm of every head. Inside its product, low_rank_w has
a tanh and low_rank_g a sigmoid. Peng et al. 2025 (arXiv 2503.14456), section 4.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import
from spectrakit.mixers import RWKV7, Observation
from spectrakit.mixers.layers import token_before, unit_length
from spectrakit_fla.mixers.rwkv_pieces import head_norm, in_heads, low_rank, low_rank_shapes

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torch.nn import functional

    from spectrakit.mixers import Parameters
else:
    torch = lazy_import("torch")
    functional = lazy_import("torch.nn.functional")

#: What is mixed with the token before, in the order of the rows of `mix`.
MIXED = ("receptance", "decay", "key", "value", "rate", "gate")


@dataclass(frozen=True, kw_only=True)
class RWKV7Layer(RWKV7):
    """A layer of `model_width` E: H `heads` of width P and `state_size` N.

    decay_rank, rate_rank, gate_rank: of the low-rank products. value_rank: the same; None in the
    first layer. norm_epsilon: of the norm. fused: whether c_t is divided by sqrt(|c|^2 + 1e-6), as
    fla's own kernel does, and not by |c|. one_mix: whether all mix_i are the rows of one tensor.
    """

    head_width: int
    model_width: int
    decay_rank: int
    rate_rank: int
    gate_rank: int
    value_rank: int | None
    norm_epsilon: float
    fused: bool = True
    one_mix: bool = False

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shape of every parameter, by role."""
        width = self.model_width
        keys, values = self.heads * self.state_size, self.heads * self.head_width
        shapes: dict[str, tuple[int, ...]] = {
            "receptance": (keys, width),
            "key": (keys, width),
            "value": (values, width),
            **low_rank_shapes("decay", width, self.decay_rank, keys),
            **low_rank_shapes("rate", width, self.rate_rank, keys),
            **low_rank_shapes("gate", width, self.gate_rank, values, bias=False),
            "removal": (keys,),
            "replacement": (keys,),
            "bonus": (self.heads, self.state_size),
            "norm": (values,),
            "norm_bias": (values,),
            "output": (width, values),
        }
        if self.value_rank is not None:
            shapes |= low_rank_shapes("value", width, self.value_rank, values)
        if self.one_mix:
            return shapes | {"mix": (len(MIXED), width)}
        return shapes | {f"mix_{name}": (1, 1, width) for name in MIXED}

    def own_value(self, hidden: Tensor, p: Parameters) -> Tensor:
        """V_t (B, T, H P) on the layer's input `hidden` (B, T, E)."""
        mixed = hidden + self._mix(p, "value") * (token_before(hidden) - hidden)
        return functional.linear(mixed, p["value"])

    def from_input(self, hidden: Tensor, p: Parameters) -> Observation:
        """The layer's equations on `hidden` (B, T, E), in its dtype but for the recurrence.

        p: with V' (B, T, H P) under `first_value`, unless it is the first layer.
        """
        change = token_before(hidden) - hidden
        mixed = {name: hidden + self._mix(p, name) * change for name in MIXED}
        receptance, key = (
            functional.linear(mixed[role], p[role]) for role in ("receptance", "key")
        )
        value = self.own_value(hidden, p)
        if self.value_rank is not None:
            share = torch.sigmoid(low_rank(mixed["value"], p, "value"))
            value = torch.lerp(value, p["first_value"], share)
        rate = torch.sigmoid(low_rank(mixed["rate"], p, "rate"))
        gate = low_rank(mixed["gate"], p, "gate", "sigmoid")
        removal = self._of_length_one(in_heads(key * p["removal"], self.heads))
        key = key * (1 + (rate - 1) * p["replacement"])
        raw = low_rank(mixed["decay"], p, "decay", "tanh")
        receptance, key, value, rate, raw = (
            in_heads(x, self.heads) for x in (receptance, key, value, rate, raw)
        )
        present = ((receptance * key * p["bonus"]).sum(-1, keepdim=True) * value).flatten(-2)

        def finish(y: Tensor) -> Tensor:
            summed = head_norm(y, p, self.norm_epsilon) + present
            return functional.linear(summed.to(hidden.dtype) * gate, p["output"])

        recurrence = self.observed(receptance, key, self.log_decay(raw), removal, rate)
        return Observation(recurrence, value, finish)

    def _mix(self, p: Parameters, name: str) -> Tensor:
        return p["mix"][MIXED.index(name)] if self.one_mix else p[f"mix_{name}"]

    def _of_length_one(self, x: Tensor) -> Tensor:
        return unit_length(x) if self.fused else functional.normalize(x, dim=-1)
