"""RWKV-4: two sums per channel, read as their ratio, with decays that are parameters.

    h_t  = w h_{t-1} + e^{k_t} (v_t, 1)                               h: (B, C, 2)
    y_t  = (h_{t-1} + e^{k_t + u} (v_t, 1)) / nu_t                    the first of its two columns
    nu_t = the second column of h_{t-1} + e^{k_t + u} (v_t, 1)        (B, T, C)
    w    = exp(-exp(time_decay)),  u = time_first                     (C,)

B batch, T tokens, C channels. Peng et al. 2023 (arXiv 2305.13048), equations 14 and 17.

y_t is read before token t is written. Written as a state that is read after its update, which is
what a recurrence is here, h is one token late: it is driven by the token before, and the present
one reaches y_t beside the state, through u. To draw h_{t-1} from h_t instead would divide by w,
which underflows in the fast channels of trained models.

In the retained gauge lambda_t = 1 - e^{k_t + u} / nu_t, the share of y_t that comes from before t.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from spectrakit._lazy import lazy_import
from spectrakit.dynamics import Contraction, HeadAxis, Mode, OuterProduct, Recurrence, ScalarDecay
from spectrakit.mixers.base import Observation
from spectrakit.mixers.layers import token_before

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from spectrakit.mixers.base import Parameters
else:
    torch = lazy_import("torch")


@dataclass(frozen=True)
class RWKV4:
    """The time mixing of RWKV-4, on C `channels`."""

    name: ClassVar[str] = "rwkv4"
    operator: ClassVar[str] = ScalarDecay.structure
    weights_mode: ClassVar[Mode | None] = "static"
    weights_roles: ClassVar[tuple[str, ...]] = ("time_decay",)
    head_axis: ClassVar[HeadAxis] = "channel"

    channels: int

    @property
    def heads(self) -> int:
        """C: channels do not interact, each is a head with a numerator and a denominator."""
        return self.channels

    @property
    def state_size(self) -> int:
        """One number in each of the two columns."""
        return 1

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shape of the parameter that A needs."""
        return {"time_decay": (self.channels,)}

    def from_weights(self, p: Parameters) -> Recurrence:
        """The decay, in float64. Keys need tokens."""
        return Recurrence(
            ScalarDecay(-p["time_decay"].double().exp(), self.state_size),
            mode="static",
            gauge="unnormalised",
            head_axis=self.head_axis,
            width=2,
        )

    def observation(
        self,
        key: Tensor,
        value: Tensor,
        first: Tensor,
        p: Parameters,
        after: Callable[[Tensor], Tensor] | None = None,
    ) -> Observation:
        """From k and v (B, T, C) and u (C,): everything in float64.

        after: what the layer makes of y_t (B, T, C): gate and output projection.
        The exponentials of keys do not fit float32. They are scaled by the largest of each channel,
        which changes the state's unit and nothing else, and float64 has room for the others.
        """
        key, value = key.double(), value.double()
        key = key - key.amax(1, keepdim=True)
        rate = p["time_decay"].double().exp()
        age = torch.arange(key.shape[1], dtype=key.dtype, device=key.device).unsqueeze(-1)
        written = torch.logcumsumexp(key + age * rate, dim=1) - age * rate
        bonus = key + first.double()
        past = token_before(written, -torch.inf)
        log_normaliser = torch.logaddexp(past, bonus)
        starts = age.squeeze(-1).expand(key.shape[:2]) < 2
        recurrence = Recurrence(
            ScalarDecay(-rate, self.state_size),
            mode="static",
            gauge="unnormalised",
            head_axis=self.head_axis,
            width=2,
            input_map=OuterProduct(token_before(key, -torch.inf).exp().unsqueeze(-1)),
            output_map=Contraction(torch.exp(-log_normaliser).unsqueeze(-1)),
            log_normaliser=log_normaliser,
            log_odds=bonus - past,
            starts=starts,
        )
        sums = torch.stack([value, torch.ones_like(value)], dim=-1)
        share = torch.exp(bonus - log_normaliser).unsqueeze(-1)

        def finish(y: Tensor) -> Tensor:
            ratio = (y + share * sums)[..., 0]
            return ratio if after is None else after(ratio)

        return Observation(recurrence, token_before(sums), finish)
