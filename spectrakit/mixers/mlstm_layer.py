"""An mLSTM layer written out: projections and gates around the recurrence of `mlstm`.

    q_t, k_t, u_t = W_q hidden_t, W_k hidden_t, W_v hidden_t          (B, T, H, .) each
    i_t, f_t      = cap(W_i hidden_t + b_i), cap(W_f hidden_t + b_f)  (B, T, H)
    h_t, y_t as in `mlstm`;  cap(x) = c tanh(x / c)
    output_t      = W_o (norm * y_t / rms(y_t))

B batch, T tokens, H heads. What blocks of xLSTM have besides, a short convolution and an output
gate, is left to the model around. Beck et al. 2024 (arXiv 2405.04517), section 2.3; the soft cap
and the norm of every head are those of xLSTM 7B, Beck et al. 2025 (arXiv 2503.13427), section 3.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import
from spectrakit.mixers.layers import root_mean_square_norm, widened
from spectrakit.mixers.linear_attention import attention_shapes, projections
from spectrakit.mixers.mlstm import MLSTM

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torch.nn import functional

    from spectrakit.mixers.base import Observation, Parameters
else:
    torch = lazy_import("torch")
    functional = lazy_import("torch.nn.functional")

_NORM_EPSILON = 1e-6


@dataclass(frozen=True, kw_only=True)
class MLSTMLayer(MLSTM):
    """An mLSTM with its projections, between vectors of `model_width`."""

    model_width: int

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shape of every parameter, by role; `gate_bias` is the forget gate's."""
        gate = (self.heads, self.model_width)
        return {
            **super().shapes(),
            **attention_shapes(self.model_width, self.heads, self.state_size, self.head_width),
            "input_gate_projection": gate,
            "input_gate_bias": (self.heads,),
            "forget_gate_projection": gate,
            "norm": (self.heads * self.head_width,),
        }

    def from_input(self, hidden: Tensor, p: Parameters) -> Observation:
        """The layer's equations on `hidden` (B, T, model width); gates in float32 at least."""
        query, key, value = (widened(x) for x in projections(hidden, p, self.heads))
        enter = functional.linear(hidden, p["input_gate_projection"], p["input_gate_bias"])
        forget = functional.linear(hidden, p["forget_gate_projection"], p["gate_bias"])
        enter, forget = (
            self.soft_cap * torch.tanh(widened(gate) / self.soft_cap) for gate in (enter, forget)
        )
        seen = self.observation(key, query, value, enter, forget)
        values = seen.finish

        def finish(y: Tensor) -> Tensor:
            assert values is not None  # noqa: S101  (it takes the normaliser's column off)
            normed = root_mean_square_norm(values(y), _NORM_EPSILON).flatten(-2) * p["norm"]
            return functional.linear(normed.to(hidden.dtype), p["output_projection"])

        return replace(seen, finish=finish)
