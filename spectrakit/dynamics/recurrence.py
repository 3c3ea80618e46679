"""The one form every sequence layer is written in:

    h_t = A_t h_{t-1} + B_t u_t        y_t = C_t h_t + D u_t

A mixer is read correctly exactly when this recurrence, run on the layer's own input, gives the
layer's own output.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from spectrakit._lazy import lazy_import
from spectrakit.dynamics.eigenvalues import ContinuousEigenvalues, DiscreteEigenvalues
from spectrakit.dynamics.maps import ScaledInput, ScaledOutput

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from spectrakit.dynamics.maps import InputMap, OutputMap
    from spectrakit.dynamics.operators import TransitionOperator
else:
    torch = lazy_import("torch")

#: static: A does not depend on the input, exact from weights. nominal: an input-dependent A at its
#: bias, an idealisation from weights alone. data: observed on tokens.
Mode = Literal["static", "nominal", "data"]

#: What the operator's H axis counts in this layer.
HeadAxis = Literal["head", "channel"]

#: The scaling of the state that time-varying eigenvalues refer to: they change under
#: h_t -> s_t h_t. unnormalised: the state as a sum of inputs, with any normaliser nu_t of the
#: read-out in C_t. dsf: the state divided by nu_t, so that the normaliser is in A_t (Sieber et al.
#: 2024, arXiv 2405.15731): lambda_t carries nu_{t-1} / nu_t. rickenbach2025: what the released
#: analysis of arXiv 2510.09379 computes, which is no gauge of the layer; the label keeps it apart.
Gauge = Literal["unnormalised", "dsf", "rickenbach2025"]


@dataclass(frozen=True)
class Recurrence:
    """A layer's transition operator with its input and output maps.

    operator: A_t, with leading axes (batch, tokens) in `data` mode and none otherwise.
    mode: how A_t was obtained. gauge: see `Gauge`; the two are one where the read-out has no
    normaliser, and that is called "unnormalised".
    head_axis: what H counts. width: P, columns of a head's state.
    step: the discretisation step Delta (..., H), or (..., H, N) where every state has its own, and
    generator: the eigenvalues (H, K) of the continuous-time A, where the layer has them, and
    generator_error: how far they can be off (H, K), where they are computed.
    input_map, output_map: B_t and C_t; None where weights alone do not determine them.
    feedthrough: D, (H,) or (H, P); one that varies is (B, T, H, P) or broadcasts to it; or None.
    log_normaliser: log nu_t (B, T, H) of a read-out that is normalised; None where it is not.
    starts: (B, T) of bool, True at tokens whose state before them is empty by definition: their A_t
    acts on nothing, and no statistic may count it. None where there are none.
    """

    operator: TransitionOperator
    mode: Mode
    gauge: Gauge
    head_axis: HeadAxis
    width: int
    step: Tensor | None = None
    generator: Tensor | None = None
    generator_error: Tensor | None = None
    input_map: InputMap | None = None
    output_map: OutputMap | None = None
    feedthrough: Tensor | None = None
    log_normaliser: Tensor | None = None
    starts: Tensor | None = None

    def eigenvalues(self) -> DiscreteEigenvalues:
        """Discrete-time eigenvalues of A_t on the whole state of a head."""
        # Of tokens there may be very many; of weights, several ask for the same few.
        return self._computed() if self.mode == "data" else self._kept

    def _computed(self) -> DiscreteEigenvalues:
        return self.operator.eigenvalues().times(self.width)

    @cached_property
    def _kept(self) -> DiscreteEigenvalues:
        return self._computed()

    def continuous_eigenvalues(self) -> ContinuousEigenvalues | None:
        """Eigenvalues of the continuous-time A on the whole state; None for a layer without one."""
        if self.generator is None:
            return None
        copies = self.operator.state_size // self.generator.shape[-1]
        return ContinuousEigenvalues(self.generator, copies * self.width, self.generator_error)

    def in_gauge(self, gauge: Gauge) -> Recurrence:
        """The same input-output map, with the state in another gauge.

        h~_t = s_t h_t has A~_t = (s_t / s_{t-1}) A_t, B~_t = s_t B_t and C~_t = C_t / s_t, where
        s_t is nu_t or its inverse. Itself where the read-out has no normaliser.
        """
        if self.log_normaliser is None or gauge == self.gauge:
            return self
        log_scale = self.log_normaliser if gauge == "unnormalised" else -self.log_normaliser
        change = torch.zeros_like(log_scale)
        change[:, 1:] = log_scale[:, 1:] - log_scale[:, :-1]
        # Where nu_{t-1} = 0 nothing is carried, and the change is a difference of infinities.
        change = change.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
        operator = self.operator.scaled(change)
        log_scale = log_scale.nan_to_num(posinf=0.0, neginf=0.0)
        return replace(
            self,
            operator=operator,
            mode="data",
            gauge=gauge,
            input_map=None if self.input_map is None else ScaledInput(self.input_map, log_scale),
            output_map=(
                None if self.output_map is None else ScaledOutput(self.output_map, -log_scale)
            ),
        )

    def at(self, t: int) -> TransitionOperator:
        """A of token `t`: leading axes (batch,), or none where A does not depend on the input."""
        return self.operator.at(t) if self.mode == "data" else self.operator

    def run(self, inputs: Tensor, state: Tensor | None = None) -> Tensor:
        """The outputs y (B, T, H, P) for the inputs u (B, T, H, P), one token at a time.

        Inputs may be wider than outputs, where a token writes several of them (`OuterProducts`).

        state: h before the first token, (B, H, N, P); zero when None. Computed in the dtype of the
        inputs or of A, whichever is wider; only one token's operator and state are ever
        materialised.

        Raises ValueError where the recurrence has no input and output maps (weights mode of a layer
        whose B and C depend on the input).
        """
        if self.input_map is None or self.output_map is None:
            message = f"a {self.mode} recurrence has no input and output maps to run with"
            raise ValueError(message)
        outputs = torch.empty_like(inputs)
        for t in range(inputs.shape[1]):
            driven = self.input_map.at(t, inputs[:, t])
            state = driven if state is None else self.at(t).apply(state) + driven
            read = self.output_map.at(t, state)
            if read.shape[-1] != outputs.shape[-1]:
                outputs = inputs.new_empty(*inputs.shape[:-1], read.shape[-1])
            outputs[:, t] = read
        if self.feedthrough is not None:
            fixed = self.feedthrough.dim() < 4  # not (batch, tokens, heads, width)
            heads = inputs.shape[2]
            outputs += inputs * (self.feedthrough.view(heads, -1) if fixed else self.feedthrough)
        return outputs
