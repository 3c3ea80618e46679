"""RWKV-6 as fla has it: the recurrence of `spectrakit.mixers.rwkv6`.

    d_t      = x_{t-1} - x_t
    m_t      = M_2 tanh(M_1 (x_t + mix d_t)) + mix_bias              (B, T, 5, E)
    x_t^i    = x_t + m_t^i d_t                                       i of r, w, k, v, g
    r_t, k_t = W_r x_t^r, W_k x_t^k                                  (B, T, H, N) each
    v_t      = W_v x_t^v                                             (B, T, H, P)
    log w_t  = -exp(W_2 tanh(W_1 x_t^w) + decay_bias)                (B, T, H, N)
    output_t = W_o (norm(y_t) silu(W_g x_t^g))

B batch, T tokens, E model width, H heads, N key width, P value width. M_2 makes each of the five
m_t^i of a fifth of what tanh gives. The norm is a layer norm of every head. Peng et al. 2024 (arXiv
2404.05892), section 4.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from spectrakit._lazy import lazy_import
from spectrakit.mixers import RWKV6, Observation
from spectrakit.mixers.layers import token_before
from spectrakit_fla.mixers.pieces import widened
from spectrakit_fla.mixers.rwkv_pieces import head_norm, in_heads, low_rank, low_rank_shapes

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torch.nn import functional

    from spectrakit.dynamics import Recurrence
    from spectrakit.mixers import Parameters
else:
    torch = lazy_import("torch")
    functional = lazy_import("torch.nn.functional")

#: What is mixed with the token before, in the order of m_t.
_MIXED = ("receptance", "decay", "key", "value", "gate")


@dataclass(frozen=True, kw_only=True)
class RWKV6Layer(RWKV6):
    """A layer of `model_width` E: H `heads` of width P and `state_size` N.

    mix_rank: of each of the five parts of M_1 and M_2. decay_rank: of W_1 and W_2.
    """

    weights_roles: ClassVar[tuple[str, ...]] = ("decay_bias",)

    head_width: int
    model_width: int
    mix_rank: int = 32
    decay_rank: int = 64
    norm_epsilon: float = 1e-5

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shape of every parameter, by role."""
        width, five = self.model_width, len(_MIXED)
        keys, values = self.heads * self.state_size, self.heads * self.head_width
        return {
            "mix": (width,),
            "mix_down": (five * self.mix_rank, width),
            "mix_up": (width, five * self.mix_rank),
            "mix_bias": (five, width),
            "receptance": (keys, width),
            "key": (keys, width),
            "value": (values, width),
            "gate": (values, width),
            **low_rank_shapes("decay", width, self.decay_rank, keys),
            "bonus": (self.heads, self.state_size),
            "norm": (values,),
            "norm_bias": (values,),
            "output": (width, values),
        }

    def from_weights(self, p: Parameters) -> Recurrence:
        """Nominal: the decay at its bias, in float64."""
        return super().from_weights({"time_decay": p["decay_bias"]})

    def from_input(self, hidden: Tensor, p: Parameters) -> Observation:
        """The layer's equations on `hidden` (B, T, E), in its dtype but for the recurrence."""
        mixed = self._mixed(hidden, p)
        projected = {
            role: functional.linear(mixed[role], p[role])
            for role in ("receptance", "key", "value", "gate")
        }
        gate = functional.silu(projected.pop("gate"))
        decay = -torch.exp(widened(low_rank(mixed["decay"], p, "decay", "tanh")))
        by_head = {role: in_heads(x, self.heads) for role, x in projected.items()}

        def after(y: Tensor) -> Tensor:
            normed = head_norm(y, p, self.norm_epsilon).to(hidden.dtype)
            return functional.linear(normed * gate, p["output"])

        return self.observation(
            **by_head,
            log_decay=in_heads(decay, self.heads),
            bonus=widened(p["bonus"]),
            after=after,
        )

    def _mixed(self, hidden: Tensor, p: Parameters) -> Mapping[str, Tensor]:
        """x_t^i, (B, T, E) each."""
        change = token_before(hidden) - hidden
        inner = torch.tanh(functional.linear(hidden + p["mix"] * change, p["mix_down"]))
        parts = inner.unflatten(-1, (len(_MIXED), -1))
        up = p["mix_up"].unflatten(-1, (len(_MIXED), -1))
        share = torch.einsum("btir,eir->btie", parts, up) + p["mix_bias"]
        mixed = hidden.unsqueeze(2) + share * change.unsqueeze(2)
        return dict(zip(_MIXED, mixed.unbind(2), strict=True))
