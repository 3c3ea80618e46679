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
from spectrakit.dynamics.operators import ScalarDecay

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
#: retained: lambda_t = 1 - p_tt, where p_tt is the weight of token t on itself: the share of what
#: it reads that comes from before it. Any positive numbers are the lambda_t of a scalar A_t in some
#: gauge; these belong to the function that the layer computes, those in dsf to the way its weights
#: are written (a bias on the keys changes them).
Gauge = Literal["unnormalised", "dsf", "retained", "rickenbach2025"]

#: Logarithms of a gauge's scale whose exponential is surely a number in float64.
_LARGEST_LOG_SCALE = 300.0


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
    log_odds: log(p_tt / (1 - p_tt)) (B, T, H), float64, of a scalar A_t whose read-out is a mean:
    p_tt is the share of token t in what it reads; +inf where it reads nothing from before, -inf
    where it does not read itself. None where shares mean nothing: nu_t is no sum of weights.
    original: this recurrence in the gauge in which the layer was read; None where it is that one.
    starts: (B, T) of bool, True at tokens whose state before them is empty, besides a sequence's
    first (a document that begins within it, keys that nothing read yet). None where there are
    none. See `carrying`.
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
    log_odds: Tensor | None = None
    original: Recurrence | None = None
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

    @property
    def as_read(self) -> Recurrence:
        """This recurrence in the gauge in which the layer was read, whatever gauge it is in now."""
        return self if self.original is None else self.original

    @property
    def log_retained(self) -> Tensor | None:
        """log(1 - p_tt), (B, T, H) in float64: the log-eigenvalues in gauge retained, or None."""
        if self.log_odds is None:
            return None
        return -torch.logaddexp(self.log_odds, torch.zeros_like(self.log_odds))

    @property
    def log_query_factor(self) -> Tensor | None:
        """Log of lambda_t in gauge dsf over lambda_t in gauge retained, (B, T, H); or None.

        NaN where both are 0 (the first token), inf where only the latter is.
        """
        retained = self.log_retained
        if retained is None:
            return None
        return self.as_read.in_gauge("dsf").log_decay - retained

    @property
    def log_decay(self) -> Tensor:
        """The log-eigenvalue of a scalar A_t: (..., H), real.

        Raises ValueError where A_t has several.
        """
        log_modulus = self.operator.eigenvalues().log_modulus
        if log_modulus.shape[-1] != 1:
            message = f"A_t is no number: {self.operator.structure} has several eigenvalues"
            raise ValueError(message)
        return log_modulus.squeeze(-1)

    @property
    def default_gauges(self) -> tuple[Gauge, ...]:
        """The gauges its eigenvalues are written in where none is asked for, the usual one last.

        Attention, which is read in gauge dsf, has the retained one too; others have their own.
        """
        if self.gauge == "dsf" and self.log_odds is not None:
            return "dsf", "retained"
        return (self.gauge,)

    def in_gauge(self, gauge: Gauge) -> Recurrence:
        """The same input-output map, with the state in another gauge.

        h~_t = s_t h_t has A~_t = (s_t / s_{t-1}) A_t, B~_t = s_t B_t and C~_t = C_t / s_t, where
        s_t is nu_t, its inverse, or a product of ratios (retained). In the gauge in which the layer
        was read where it has no other: it has no normaliser, or no `log_odds` for that one.

        A token with p_tt = 1 reads nothing from before: lambda_t = 0 in gauge retained, which no
        s_t makes of a lambda_t > 0. The state is emptied there and s_t begins anew, so the outputs
        are the layer's where no later token reads what came before that one.
        """
        read = self.as_read
        if gauge == read.gauge:
            return read
        if gauge == "retained":
            return read._in_retained_gauge()
        if read.log_normaliser is None:
            return read
        log_scale = read.log_normaliser if gauge == "unnormalised" else -read.log_normaliser
        change = torch.zeros_like(log_scale)
        change[:, 1:] = log_scale[:, 1:] - log_scale[:, :-1]
        # Where nu_{t-1} = 0 nothing is carried, and the change is a difference of infinities.
        change = change.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
        log_scale = log_scale.nan_to_num(posinf=0.0, neginf=0.0)
        return read._scaled(gauge, read.operator.scaled(change), log_scale)

    def _in_retained_gauge(self) -> Recurrence:
        target = self.log_retained
        if target is None:
            return self
        change = target - self.log_decay
        # s_t begins anew where lambda_t is 0 in either gauge.
        anew = ~change.isfinite()
        total = change.masked_fill(anew, 0).cumsum(1)
        index = torch.arange(total.shape[1], device=total.device).view(1, -1, 1)
        last = torch.where(anew, index, 0).cummax(1).values
        log_scale = total - total.gather(1, last)
        # A factor that all s_t share changes nothing, and keeps them as near to 1 as can be.
        log_scale = log_scale - (log_scale.amax(1, True) + log_scale.amin(1, True)) / 2
        return self._scaled("retained", ScalarDecay(target, self.operator.state_size), log_scale)

    def _scaled(self, gauge: Gauge, operator: TransitionOperator, log_scale: Tensor) -> Recurrence:
        """A~_t, with B_t and C_t for a state that is exp(log_scale_t) (B, T, H) times as large."""
        write, read = self.input_map, self.output_map
        return replace(
            self,
            operator=operator,
            mode="data",
            gauge=gauge,
            input_map=None if write is None else ScaledInput(write, log_scale),
            output_map=None if read is None else ScaledOutput(read, -log_scale),
            original=self,
        )

    def carrying(self, valid: Tensor) -> Tensor:
        """The tokens of `valid` (B, T) whose A_t carries a state; the others are in no statistic.

        A sequence begins from an empty state, so A of its first valid token acts on nothing,
        whatever the layer is: its value is no part of what the layer computes. The same holds at
        `starts`.
        """
        before = torch.zeros_like(valid)
        before[:, 1:] = valid[:, :-1]
        carrying = valid & before
        return carrying if self.starts is None else carrying & ~self.starts

    def _within_range(self) -> Recurrence:
        """Itself, or where the scale of its gauge leaves float64, with it put into A_t again.

        The state in the retained gauge is a product of shares: after some thousand tokens it is no
        number any more, though what is read from it is.
        """
        write, read = self.input_map, self.output_map
        if not (isinstance(write, ScaledInput) and isinstance(read, ScaledOutput)):
            return self
        log_scale = write.log_scale
        if not bool((log_scale.abs() > _LARGEST_LOG_SCALE).any()):
            return self
        change = torch.zeros_like(log_scale)
        change[:, 1:] = log_scale[:, :-1] - log_scale[:, 1:]
        operator = self.operator.scaled(change)
        return replace(self, operator=operator, input_map=write.inner, output_map=read.inner)

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
        ranged = self._within_range()
        assert ranged.input_map is not None and ranged.output_map is not None  # noqa: S101, PT018
        outputs = torch.empty_like(inputs)
        # Where gradients may be asked for: each write into `outputs` would cost its whole length.
        kept: list[Tensor] | None = [] if torch.is_grad_enabled() else None
        for t, u in enumerate(inputs.unbind(1)):
            driven = ranged.input_map.at(t, u)
            state = driven if state is None else ranged.at(t).apply(state) + driven
            read = ranged.output_map.at(t, state)
            if kept is not None:
                kept.append(read.to(inputs.dtype))
                continue
            if read.shape[-1] != outputs.shape[-1]:
                outputs = inputs.new_empty(*inputs.shape[:-1], read.shape[-1])
            outputs[:, t] = read
        if kept:
            outputs = torch.stack(kept, 1)
        if self.feedthrough is not None:
            fixed = self.feedthrough.dim() < 4  # not (batch, tokens, heads, width)
            heads = inputs.shape[2]
            outputs += inputs * (self.feedthrough.view(heads, -1) if fixed else self.feedthrough)
        return outputs
