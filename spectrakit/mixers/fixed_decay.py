"""Linear attention with a decay that nobody learns: RetNet's retention and Lightning attention.

    h_t = exp(-s_h) h_{t-1} + k_t u_t^T                               h: (B, H, N, P)
    y_t = h_t^T q_t                                                   (B, T, H, P)

    retention            exp(-s_h) = 1 - 2^(-5 - h)                   h = 0 .. H - 1
    Lightning attention  s_h       = 2^(-8 (h + 1) / H) (1 - l / (L - 1 + 1e-5) + 1e-5)

B batch, T tokens, H heads, N key width, P value width; layer l of L. The decay follows from the
sizes alone: weights mode reads no tensor. Sun et al. 2023 (arXiv 2307.08621), equation 8, whose
rotation of keys and queries is part of k_t and q_t here: as part of A it would turn the eigenvalues
and leave their moduli. MiniMax 2025 (arXiv 2501.08313), section 2.2: the slopes of ALiBi, flatter
the deeper the layer.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from spectrakit._lazy import lazy_import
from spectrakit.dynamics import Contraction, HeadAxis, Mode, OuterProduct, Recurrence, ScalarDecay

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from spectrakit.dynamics import InputMap, OutputMap
    from spectrakit.mixers.base import Parameters
else:
    torch = lazy_import("torch")

#: Lightning's: keeps the last layer's slope positive, and a model of one layer finite.
_EPSILON = 1e-5


@dataclass(frozen=True)
class FixedDecay(ABC):
    """H `heads` with keys of width `state_size` N and values of `head_width` P."""

    operator: ClassVar[str] = ScalarDecay.structure
    weights_mode: ClassVar[Mode | None] = "static"
    weights_roles: ClassVar[tuple[str, ...]] = ()
    head_axis: ClassVar[HeadAxis] = "head"

    heads: int
    state_size: int
    head_width: int

    @abstractmethod
    def log_decay(self) -> Tensor:
        """-s_h: (H,), in float64."""

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """No parameter enters the decay."""
        return {}

    def from_weights(self, p: Parameters) -> Recurrence:  # noqa: ARG002  (the protocol's)
        """The decay. Keys and queries need tokens."""
        return self._recurrence(self.log_decay())

    def observed(self, key: Tensor, query: Tensor) -> Recurrence:
        """From k and q (B, T, H, N), rotated and scaled where the layer does so."""
        decay = self.log_decay().to(key)
        return self._recurrence(decay, OuterProduct(key), Contraction(query))

    def _recurrence(
        self, decay: Tensor, write: InputMap | None = None, read: OutputMap | None = None
    ) -> Recurrence:
        return Recurrence(
            ScalarDecay(decay, self.state_size),
            mode="static",
            gauge="unnormalised",
            head_axis=self.head_axis,
            width=self.head_width,
            input_map=write,
            output_map=read,
        )


@dataclass(frozen=True)
class Retention(FixedDecay):
    """The multi-scale retention of RetNet."""

    name: ClassVar[str] = "retention"

    def log_decay(self) -> Tensor:
        """log(1 - 2^(-5 - h)): (H,), in float64."""
        return torch.log1p(-torch.exp2(-5 - torch.arange(self.heads, dtype=torch.float64)))


@dataclass(frozen=True)
class LightningAttention(FixedDecay):
    """Lightning attention, in layer number `layer` of `layers`."""

    name: ClassVar[str] = "lightning_attention"

    layer: int
    layers: int

    def log_decay(self) -> Tensor:
        """-s_h: (H,), in float64."""
        exponent = -8 / self.heads * torch.arange(1, self.heads + 1, dtype=torch.float64)
        depth = self.layer / (self.layers - 1 + _EPSILON)
        return -torch.exp2(exponent) * (1 - depth + _EPSILON)
