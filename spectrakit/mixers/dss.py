"""DSS: a diagonal state space model on every channel, with one A for all of them.

    z   = exp(log_dt_0) Re Lambda + i exp(log_dt_1) Im Lambda          (H, N)
    h_t = exp(z) h_{t-1} + gain u_t         h: (B, H, N) complex
    y_t = Re(W h_t) + D u_t                 (B, T, H)

B batch, T tokens, H channels, N states as they are stored: there are no conjugates besides. The two
steps may be one. The version says how Lambda is stored and what the gain is
(`spectrakit.dynamics.discretize`):

    softmax        Lambda                        each state's kernel is normalised over its length
    clip           Re Lambda at most a maximum   (exp(z) - 1) / Lambda
    exp            -exp(log_neg_re) + i im       (exp(z) - 1) / Lambda
    exp-re-im      -exp(log_neg_re) + i exp(log_im)   (exp(z) - 1) / Lambda
    ...-no-scale   of exp and clip               1

Gupta et al. 2022 (arXiv 2203.14343).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, TypeAlias

from spectrakit._lazy import lazy_import
from spectrakit.dynamics import (
    ConstantInput,
    ConstantOutput,
    DiagonalDecay,
    HeadAxis,
    Mode,
    Recurrence,
)
from spectrakit.dynamics.discretize import DiscretisedDiagonal, dss_exp, dss_softmax
from spectrakit.mixers.layers import in_float64

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from spectrakit.mixers.base import Parameters
else:
    torch = lazy_import("torch")

DSSVersion: TypeAlias = Literal[
    "softmax", "clip", "clip-no-scale", "exp", "exp-no-scale", "exp-re-im"
]


@dataclass(frozen=True)
class DSS:
    """A DSS layer of H `channels`, each with `outputs` c, and N states.

    feedthroughs: rows of D, 0 where there is none.
    separate_steps: Re and Im have steps of their own. largest_real: of the clip versions.
    kernel_length: L of the softmax version; its recurrence can be run only where it is known.
    """

    name: ClassVar[str] = "dss"
    operator: ClassVar[str] = DiagonalDecay.structure
    weights_mode: ClassVar[Mode | None] = "static"
    head_axis: ClassVar[HeadAxis] = "channel"

    channels: int
    state_size: int
    version: DSSVersion
    outputs: int = 1
    feedthroughs: int = 1
    separate_steps: bool = False
    largest_real: float | None = None
    kernel_length: int | None = None

    @property
    def heads(self) -> int:
        """H: channels do not interact, each is a head of width one."""
        return self.channels

    @property
    def weights_roles(self) -> tuple[str, ...]:
        """All of them: the recurrence that they make can be run."""
        return tuple(self.shapes())

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shape of every parameter, by role."""
        states = self.state_size
        generator: dict[str, tuple[int, ...]]
        if self.version == "exp-re-im":
            generator = {"Lambda_log_neg_re": (states,), "Lambda_log_im": (states,)}
        elif self.version.startswith("exp"):
            generator = {"Lambda_log_neg_re": (states,), "Lambda_im": (states,)}
        else:
            generator = {"Lambda": (states, 2)}
        shapes = {
            **generator,
            "log_dt": (self.channels, 2) if self.separate_steps else (self.channels,),
            "W": (self.outputs, self.channels, states, 2),
        }
        if self.feedthroughs:
            shapes["D"] = (self.feedthroughs, self.channels)
        return shapes

    def generator(self, p: Parameters) -> Tensor:
        """Lambda: (N,), complex."""
        if self.version == "exp-re-im":
            return torch.complex(-p["Lambda_log_neg_re"].exp(), p["Lambda_log_im"].exp())
        if self.version.startswith("exp"):
            return torch.complex(-p["Lambda_log_neg_re"].exp(), p["Lambda_im"])
        real, imaginary = p["Lambda"].unbind(-1)
        if self.largest_real is not None:
            real = real.clamp(max=self.largest_real)
        return torch.complex(real, imaginary)

    def from_weights(self, p: Parameters) -> Recurrence:
        """The layer's recurrence, in float64.

        Without input and output maps where W has several outputs (they may be directions), or where
        the gain depends on a kernel length that is not known.
        """
        p = in_float64(p)
        generator, step = self.generator(p), self._step(p)
        system = self._discretised(generator, step)
        known = self.outputs == 1 and (self.version != "softmax" or self.kernel_length)
        feedthrough = p["D"].flatten() if known and self.feedthroughs else None
        query = self._query(p)
        return Recurrence(
            system.operator,
            mode="static",
            gauge="unnormalised",
            head_axis=self.head_axis,
            width=1,
            step=None if self.separate_steps else step.squeeze(-1),
            generator=generator.expand(self.channels, -1),
            input_map=ConstantInput(system.gain.unsqueeze(-1)) if known else None,
            output_map=ConstantOutput(query.unsqueeze(-2)) if known else None,
            feedthrough=feedthrough,
        )

    def kernel_terms(self, p: Parameters) -> tuple[Tensor, Tensor]:
        """log A_bar and the weights w, (H, N), complex, in the dtype of `p`.

        The kernel is K_t = Re sum w exp(t log A_bar), of the same equations as `from_weights`.
        """
        system = self._discretised(self.generator(p), self._step(p))
        return torch.complex(system.log_decay, system.phase), system.gain * self._query(p)

    def _step(self, p: Parameters) -> Tensor:
        """(H, 1), or (H, 2) where they are separate."""
        return p["log_dt"].exp().reshape(self.channels, -1)

    def _query(self, p: Parameters) -> Tensor:
        """W of the first output: (H, N), complex."""
        return torch.view_as_complex(p["W"].contiguous())[0]

    def _discretised(self, generator: Tensor, step: Tensor) -> DiscretisedDiagonal:
        scaled = torch.complex(step[:, :1] * generator.real, step[:, -1:] * generator.imag)
        if self.version == "softmax":
            # The eigenvalues do not depend on the length: without one, any will do.
            return dss_softmax(generator, scaled, self.kernel_length or 1)
        return dss_exp(generator, scaled, scale=not self.version.endswith("no-scale"))
