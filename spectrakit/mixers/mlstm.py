"""mLSTM: a matrix memory with a forget gate per head, an exponential input gate and a normaliser.

    h_t  = sigmoid(f_t) h_{t-1} + e^{i_t} k_t (u_t, 1)^T              h: (B, H, N, P + 1)
    nu_t = max(|q_t^T n_t|, 1) + epsilon e^{m_t}                      (B, T, H)
    y_t  = h_t^T q_t / nu_t                                           (B, T, H, P): all but the last
    m_t  = max(log sigmoid(f_t) + m_{t-1}, i_t),  m_{-1} = 0          (B, T, H)

B batch, T tokens, H heads, N key width, P value width. n_t, the last column of h_t, sums the keys.
q_t is scaled by N^-1/2; f_t and i_t are c tanh(. / c) of a projection of the input, with a soft cap
c. Beck et al. 2024 (arXiv 2405.04517), equations 19 to 27, without the stabiliser m_t: the code's
state is e^{-m_t} h_t, in which epsilon is added to the normaliser.

q_t^T k_s may be negative and nu_t is no sum of the tokens' weights: there are no shares of a
read-out, and so no retained gauge.

Nominal: f_t at its bias.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from spectrakit._lazy import lazy_import
from spectrakit.dynamics import Contraction, HeadAxis, Mode, OuterProduct, Recurrence, ScalarDecay
from spectrakit.mixers.base import Observation

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torch.nn import functional

    from spectrakit.mixers.base import Parameters
else:
    torch = lazy_import("torch")
    functional = lazy_import("torch.nn.functional")


@dataclass(frozen=True)
class MLSTM:
    """H `heads` with keys of width `state_size` N and values of `head_width` P.

    soft_cap: c. fused: the gates are one projection, the input gates before the forget gates.
    """

    name: ClassVar[str] = "mlstm"
    operator: ClassVar[str] = ScalarDecay.structure
    weights_mode: ClassVar[Mode | None] = "nominal"
    weights_roles: ClassVar[tuple[str, ...]] = ("gate_bias",)
    head_axis: ClassVar[HeadAxis] = "head"

    heads: int
    state_size: int
    head_width: int
    soft_cap: float
    epsilon: float = 1e-6
    fused: bool = False

    @property
    def width(self) -> int:
        """P + 1: the values and the normaliser."""
        return self.head_width + 1

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shape of the parameter that the nominal A needs."""
        return {"gate_bias": (2 * self.heads if self.fused else self.heads,)}

    def from_weights(self, p: Parameters) -> Recurrence:
        """Nominal: the forget gate at its bias."""
        bias = p["gate_bias"].double()[-self.heads :]
        forget = self.soft_cap * torch.tanh(bias / self.soft_cap)
        return Recurrence(
            ScalarDecay(functional.logsigmoid(forget), self.state_size),
            mode="nominal",
            gauge="unnormalised",
            head_axis=self.head_axis,
            width=self.width,
        )

    def observation(
        self, key: Tensor, query: Tensor, value: Tensor, enter: Tensor, forget: Tensor
    ) -> Observation:
        """From k and q (B, T, H, N), u (B, T, H, P), i and f (B, T, H), the soft cap applied."""
        from spectrakit.scans.parallel import parallel_form

        log_decay = functional.logsigmoid(forget)
        query = query * self.state_size**-0.5
        unread = Recurrence(
            ScalarDecay(log_decay, self.state_size),
            mode="data",
            gauge="unnormalised",
            head_axis=self.head_axis,
            width=self.width,
            input_map=OuterProduct(key, gain=enter.exp()),
            output_map=Contraction(query),
        )
        ones = torch.ones_like(value[..., :1])
        normaliser = parallel_form(unread, ones).squeeze(-1).abs().clamp(min=1)
        decayed = log_decay.cumsum(1)
        largest = (enter - decayed).cummax(1).values.clamp(min=0) + decayed
        normaliser = normaliser + self.epsilon * largest.exp()
        recurrence = replace(
            unread,
            output_map=Contraction(query / normaliser.unsqueeze(-1)),
            log_normaliser=normaliser.log(),
        )
        return Observation(recurrence, torch.cat([value, ones], -1), lambda y: y[..., :-1])
