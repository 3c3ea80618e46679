"""What layers whose A does not depend on the input share: their weights are their recurrence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spectrakit.mixers import Observation
from spectrakit.training.models.mixer_module import MixerModule

if TYPE_CHECKING:
    from torch import Tensor

    from spectrakit.dynamics import Recurrence


class StaticModule(MixerModule):
    """A layer of one head that all channels share (LRU, S5, dense)."""

    def recurrence(self) -> Recurrence:
        """The layer's recurrence, in the parameters' dtype; gradients flow to them."""
        mixer: Any = self.mixer
        found: Recurrence = mixer.recurrence(self.wide_roles())
        return found

    def observe(self, hidden: Tensor) -> Observation:
        """See `MixerModule.observe`."""
        return Observation(self.recurrence(), hidden.unsqueeze(2), lambda y: y.squeeze(2))


class ChannelModule(MixerModule):
    """A layer of channels that do not interact (S4, S4D, DSS), trained by its kernel."""

    def observe(self, hidden: Tensor) -> Observation:
        """See `MixerModule.observe`; the recurrence is in float64, with conjugates."""
        recurrence = self.mixer.from_weights(self.roles())
        return Observation(recurrence, hidden.unsqueeze(-1), lambda y: y.squeeze(-1))
