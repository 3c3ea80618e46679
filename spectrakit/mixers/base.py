"""What every mixer offers: the part of a layer that moves information along the sequence.

A mixer is a frozen dataclass that holds a layer's sizes and options, and knows its parameters by
their *role* ("A_log", "step_bias"), never by a checkpoint's tensor names: those are the
architecture's business.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol, TypeAlias

if TYPE_CHECKING:
    from torch import Tensor

    from spectrakit.dynamics import HeadAxis, Mode, Recurrence

#: The parameters of one layer, by role.
Parameters: TypeAlias = "Mapping[str, Tensor]"


@dataclass(frozen=True)
class Observation:
    """One layer seen on one batch of tokens.

    recurrence: A_t, B_t, C_t and D on these tokens (mode "data"; "static" where A does not depend
    on the input).
    inputs: u, (B, T, H, P), what drives the recurrence (after the projection and convolution).
    finish: maps the recurrence's outputs y (B, T, H, P) to `outputs` or to the mixer's own output
    (normaliser, gate, norm and output projection); None where y is compared as it is.
    outputs: what the running model itself made of these inputs: y, or `finish`'s shape where there
    is one; None where it was not recorded. Running the recurrence must give it.
    """

    recurrence: Recurrence
    inputs: Tensor
    finish: Callable[[Tensor], Tensor] | None = None
    outputs: Tensor | None = None

    def output(self) -> Tensor:
        """What the running model made of the inputs, by running the recurrence."""
        y = self.recurrence.run(self.inputs)
        return y if self.finish is None else self.finish(y)


class Mixer(Protocol):
    """A kind of sequence layer with its sizes; see `spectrakit.mixers.mamba` for a whole one."""

    #: Name of the kind, unique among all plugins: "mamba".
    name: ClassVar[str]
    #: Structure of the transition operator: "separable_decay".
    operator: ClassVar[str]
    #: What A is in weights mode: "static", "nominal", or None where weights alone have no spectrum.
    weights_mode: ClassVar[Mode | None]
    #: What the operator's H axis counts.
    head_axis: ClassVar[HeadAxis]

    @property
    def weights_roles(self) -> tuple[str, ...]:
        """Roles of the parameters that weights mode reads; may be a class variable."""

    @property
    def heads(self) -> int:
        """H, of the kind `head_axis` says."""

    @property
    def state_size(self) -> int | None:
        """N, the size of the index the transition acts on; None where the state has no end."""

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shape of every parameter this mixer reads, by role."""

    def from_weights(self, p: Parameters) -> Recurrence:
        """The recurrence that weights alone determine, from the parameters in `weights_roles`.

        Raises UnsupportedError where `weights_mode` is None.
        """


class WrittenOutMixer(Mixer, Protocol):
    """A mixer whose equations are written out from its input to its output.

    One that can be trained has a class method `build(config)` besides, which gives a `MixerModule`
    of `spectrakit.training.models.mixer_module` for a `SpectrakitConfig`; docs/plugins.md.
    """

    def from_input(self, hidden: Tensor, p: Parameters) -> Observation:
        """The recurrence on the mixer's input `hidden` (B, T, model width), from its equations.

        This is the mixer written out; the tap of a running model gives the same without it.
        """
