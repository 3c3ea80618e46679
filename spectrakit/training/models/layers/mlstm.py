"""mLSTM as a module: `spectrakit.mixers.mlstm_layer`, by products of matrices."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch

from spectrakit.errors import UsageError
from spectrakit.training.models.initial import projection, real_eigenvalues_of
from spectrakit.training.models.kinds.mlstm import mixer_of
from spectrakit.training.models.mixer_module import MixerModule

if TYPE_CHECKING:
    from spectrakit.mixers.mlstm_layer import MLSTMLayer
    from spectrakit.training.models.config import SpectrakitConfig

#: Where a named set in continuous time is sampled.
_STEP = 0.01


class MLSTMModule(MixerModule):
    """mLSTM: Beck et al. 2024 (arXiv 2405.04517).

    Starts as its code does: gates without their inputs, forget gates at biases from 3 to 6 over the
    heads, input gates near 0.
    """

    recurrence_roles: ClassVar[frozenset[str]] = frozenset({"gate_bias"})
    eigenvalue_roles: frozenset[str] = recurrence_roles
    mixer: MLSTMLayer

    def __init__(self, config: SpectrakitConfig) -> None:
        self.initial = config.initial_eigenvalues
        super().__init__(mixer_of(config))

    def reset_parameters(self) -> None:
        """See the class; the decays at their bias may be those of a named set."""
        for role in ("query", "key", "value", "output"):
            parameter = self.get_parameter(f"{role}_projection")
            parameter.data.copy_(projection(tuple(parameter.shape)))
        self.get_parameter("input_gate_projection").data.zero_()
        self.get_parameter("forget_gate_projection").data.zero_()
        self.get_parameter("input_gate_bias").data.normal_(std=0.1)
        self.get_parameter("norm").data.fill_(1.0)
        self.get_parameter("gate_bias").data.copy_(self._forget_bias())

    def _forget_bias(self) -> torch.Tensor:
        heads, cap = self.mixer.heads, self.mixer.soft_cap
        if self.initial is None:
            return torch.linspace(3.0, 6.0, heads)
        log_decay = real_eigenvalues_of(self.initial, heads, _STEP, "mLSTM").double()
        gate = torch.logit(log_decay.exp())
        if bool((gate.abs() >= cap).any()):
            message = f"the soft cap {cap:g} keeps mLSTM from the eigenvalues of {self.initial!r}"
            raise UsageError(message, hint="another initial_eigenvalues, or a larger soft_cap")
        return cap * torch.atanh(gate / cap)
