"""RWKV-7 as a module: `spectrakit.mixers.rwkv7_layer`, by the WY form.

The value of the model's first layer, which later ones take a share of in RWKV's own models, is not
taken: every layer is as the first.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

import torch

from spectrakit.errors import UsageError
from spectrakit.mixers.draw import Draw
from spectrakit.mixers.initial_rwkv7 import InitialRWKV7
from spectrakit.mixers.rwkv7 import FASTEST
from spectrakit.training.models.initial import projection, real_eigenvalues_of
from spectrakit.training.models.kinds.rwkv7 import mixer_of
from spectrakit.training.models.mixer_module import MixerModule

if TYPE_CHECKING:
    from spectrakit.mixers.rwkv7_layer import RWKV7Layer
    from spectrakit.training.models.config import SpectrakitConfig

#: Where a named set in continuous time is sampled.
_STEP = 0.01


class RWKV7Module(MixerModule):
    """RWKV-7: Peng et al. 2025 (arXiv 2503.14456). Starts as the first layer of its own models.

    But for the projection out, which is not zero: a model of two layers would not begin to learn.
    """

    recurrence_roles: ClassVar[frozenset[str]] = frozenset({"decay_bias"})
    eigenvalue_roles: frozenset[str] = recurrence_roles
    mixer: RWKV7Layer

    def __init__(self, config: SpectrakitConfig) -> None:
        self.depth = config.num_hidden_layers
        self.initial = config.initial_eigenvalues
        super().__init__(mixer_of(config))

    def reset_parameters(self) -> None:
        """See the class; the decays of every head at their bias may be those of a named set."""
        scheme = InitialRWKV7(0, self.depth, self.mixer.state_size, rank_axis=0)
        generator = torch.Generator().manual_seed(int(torch.randint(1 << 31, ()).item()))
        for role, parameter in self.named_parameters(recurse=False):
            drawn = scheme.time_mixing(role, Draw(tuple(parameter.shape), generator))
            parameter.data.copy_(drawn)
        output = self.get_parameter("output").data
        output.copy_(projection(tuple(output.shape)))
        if self.initial is not None:
            self._start_with(self.initial)

    def _start_with(self, name: str) -> None:
        log_decay = real_eigenvalues_of(name, self.mixer.state_size, _STEP, "RWKV-7").double()
        share = -log_decay / FASTEST
        if not bool((share < 1).all()):
            least = float(log_decay.min().exp())
            message = (
                f"RWKV-7's eigenvalues are above {math.exp(-FASTEST):.3f}, and {name!r} has "
                f"{least:.3g}"
            )
            raise UsageError(message, hint="another initial_eigenvalues, or none")
        bias = self.get_parameter("decay_bias").data
        bias.copy_(torch.logit(share).repeat(self.mixer.heads).view(bias.shape))
