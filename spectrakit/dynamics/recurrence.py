"""The one form every sequence layer is written in:

    h_t = A_t h_{t-1} + B_t u_t        y_t = C_t h_t + D u_t

A mixer is read correctly exactly when this recurrence, run on the layer's own input, gives the
layer's own output.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from spectrakit._lazy import lazy_import
from spectrakit.dynamics.eigenvalues import ContinuousEigenvalues, DiscreteEigenvalues

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from spectrakit.dynamics.maps import Contraction, OuterProduct
    from spectrakit.dynamics.operators import TransitionOperator
else:
    torch = lazy_import("torch")

#: static: A does not depend on the input, exact from weights. nominal: an input-dependent A at its
#: bias, an idealisation from weights alone. data: observed on tokens.
Mode = Literal["static", "nominal", "data"]

#: What the operator's H axis counts in this layer.
HeadAxis = Literal["head", "channel"]


@dataclass(frozen=True)
class Recurrence:
    """A layer's transition operator with its input and output maps.

    operator: A_t, with leading axes (batch, tokens) in `data` mode and none otherwise.
    mode: how A_t was obtained. gauge: the scaling of the state the eigenvalues refer to (they
    change under h_t -> s_t h_t): "unnormalised" is the state as the model itself keeps it.
    head_axis: what H counts. width: P, columns of a head's state.
    step: the discretisation step Delta (..., H), and generator: the eigenvalues (H, K) of the
    continuous-time A, where the layer has them.
    input_map, output_map: B_t and C_t; None where weights alone do not determine them.
    feedthrough: D, (H,) or (H, P), or None.
    """

    operator: TransitionOperator
    mode: Mode
    gauge: str
    head_axis: HeadAxis
    width: int
    step: Tensor | None = None
    generator: Tensor | None = None
    input_map: OuterProduct | None = None
    output_map: Contraction | None = None
    feedthrough: Tensor | None = None

    def eigenvalues(self) -> DiscreteEigenvalues:
        """Discrete-time eigenvalues of A_t on the whole state of a head."""
        return self.operator.eigenvalues().times(self.width)

    def continuous_eigenvalues(self) -> ContinuousEigenvalues | None:
        """Eigenvalues of the continuous-time A on the whole state; None for a layer without one."""
        if self.generator is None:
            return None
        copies = self.operator.state_size // self.generator.shape[-1]
        return ContinuousEigenvalues(self.generator, multiplicity=copies * self.width)

    def run(self, inputs: Tensor, state: Tensor | None = None) -> Tensor:
        """The outputs y (B, T, H, P) for the inputs u (B, T, H, P), one token at a time.

        state: h before the first token, (B, H, N, P); zero when None. Computed in the dtype of the
        inputs; only one token's operator and state are ever materialised.

        Raises ValueError where the recurrence has no input and output maps (weights mode of a layer
        whose B and C depend on the input).
        """
        if self.input_map is None or self.output_map is None:
            message = f"a {self.mode} recurrence has no input and output maps to run with"
            raise ValueError(message)
        batch, tokens, heads, width = inputs.shape
        if state is None:
            state = inputs.new_zeros(batch, heads, self.operator.state_size, width)
        outputs = torch.empty_like(inputs)
        for t in range(tokens):
            state = self.operator.at(t).apply(state) + self.input_map.at(t, inputs[:, t])
            outputs[:, t] = self.output_map.at(t, state)
        if self.feedthrough is not None:
            outputs += inputs * self.feedthrough.view(heads, -1)
        return outputs
