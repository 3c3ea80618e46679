"""Looks at the spectra of a live model, every so many steps, and keeps what it saw as tables.

Parameters are read where they are; nothing of the model is changed, copied or hooked, so that
training with a tracker is training without one, bit for bit, under `torch.compile` too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch

from spectrakit.analyses.spectrum.summary import summarise_exactly
from spectrakit.architectures.module_tensors import unwrapped
from spectrakit.errors import UsageError
from spectrakit.models_in_memory import from_model
from spectrakit.tables.training_schemas import TRAINING_SPECTRUM, TRAINING_TIMESCALES
from spectrakit.training.records import Record
from spectrakit.training.tracking.gradients import EigenvalueGradients, NoGradients, gradients_of
from spectrakit.training.tracking.memory import remembered
from spectrakit.training.tracking.memory_table import TRAINING_MEMORY
from spectrakit.training.tracking.probes import probed
from spectrakit.training.tracking.timescales import histogram

if TYPE_CHECKING:
    from torch import Tensor, nn

    from spectrakit.architectures import Layer
    from spectrakit.dynamics import Recurrence
    from spectrakit.tables.manifest import Manifest

#: Called with numbers by name, and the step they are of: a tracker of losses (TensorBoard, ...).
Log = Callable[[Mapping[str, float], int], None]


class SpectralTracker:
    """The spectra of `module` over its training.

    module: any model that spectrakit reads, in wrappers or not. identity: whose tables these are.
    config: of a module that has none; see `from_model`. probe: token ids (B, T) whose spectra in
    data mode are taken as well; needed where weights alone have no spectrum (attention).

    Raises UnsupportedError where no architecture reads the module, UsageError where neither weights
    nor a probe would show any spectrum.
    """

    def __init__(
        self,
        module: nn.Module,
        identity: Manifest,
        *,
        config: object = None,
        probe: Tensor | None = None,
        log: Log | None = None,
    ) -> None:
        self.model = from_model(module, config=config)
        self.identity = identity
        self._module = unwrapped(module)
        self._parameters = dict(self._module.named_parameters())
        self.probe = probe
        self.log = log
        self._layers = [layer for layer in self.model.layers if layer.in_weights]
        if not self._layers and probe is None:
            message = f"the weights of {self.model.checkpoint.model_id} alone have no spectrum"
            raise UsageError(message, hint="give token ids as probe=")
        self.spectrum = Record(TRAINING_SPECTRUM, identity)
        self.timescales = Record(TRAINING_TIMESCALES, identity)
        self.memory = Record(TRAINING_MEMORY, identity)

    @property
    def records(self) -> tuple[Record, ...]:
        """Its tables."""
        return self.spectrum, self.timescales, self.memory

    def snapshot(self, step: int, *, gradients: bool = True) -> None:
        """Look at the model after `step` updates.

        gradients: whether the parameters hold those of a loss, not scaled (mixed precision).
        """
        numbers: dict[str, float] = {}
        for layer in self._layers:
            self._see(layer, step, gradients, numbers)
        if self.probe is not None:
            columns = probed(self.model, self.probe)
            if columns is not None:
                reason = "of spectra on tokens there is none"
                columns |= {"step": step, "gradient_norm": None, "gradient_reason": reason}
                self.spectrum.extend(TRAINING_SPECTRUM.table(columns))
                numbers |= _numbers(columns)
        if self.log is not None:
            self.log(numbers, step)

    def remember(self, step: int) -> None:
        """Look at what every layer remembers after `step` updates: more work than a snapshot."""
        for layer in self._layers:
            recurrence, _ = self._read(layer)
            for row in remembered(layer, recurrence):
                self.memory.add({**row, "step": step})

    def _read(self, layer: Layer) -> tuple[Recurrence, dict[str, Tensor]]:
        """A layer's recurrence as its weights are, and the parameters that it is made of."""
        assert layer.mixer is not None  # noqa: S101  (layers that weights mode reads have one)
        tensors = self.model.checkpoint.read(layer.weights_tensors)
        p = {role: tensors[layer.parameters[role]] for role in layer.mixer.weights_roles}
        with torch.no_grad():
            return layer.mixer.from_weights({role: x.detach() for role, x in p.items()}), p

    def _see(self, layer: Layer, step: int, gradients: bool, numbers: dict[str, float]) -> None:
        recurrence, p = self._read(layer)
        found = self._gradients(layer, p) if gradients else NoGradients("no gradient was computed")
        rows = _summaries(layer, recurrence, found)
        for row in rows:
            self.spectrum.add({**row, "step": step})
        own = found if isinstance(found, EigenvalueGradients) else None
        columns = histogram(recurrence.eigenvalues(), own)
        columns |= {"step": step, "layer": layer.index, "mode": recurrence.mode}
        columns["gauge"] = recurrence.gauge
        self.timescales.extend(TRAINING_TIMESCALES.table(columns, len(columns["count"])))
        for key in ("spectral_radius", "timescale_q50", "timescale_q95"):
            numbers[f"spectrum/layer{layer.index}/{key}"] = float(rows[0][key])

    def _gradients(
        self, layer: Layer, p: Mapping[str, Tensor]
    ) -> EigenvalueGradients | NoGradients:
        grads = {}
        for role in p:
            parameter = self._parameters.get(layer.parameters[role])
            if parameter is not None and parameter.grad is not None:
                grads[role] = parameter.grad
        if not grads:
            return NoGradients("its eigenvalues are not trained")
        return gradients_of(layer.mixer, p, grads)


def _numbers(columns: Mapping[str, Any]) -> dict[str, float]:
    """Of a probe, what trackers of losses are told: by layer and gauge."""
    told = {}
    for place, head in enumerate(columns["head"]):
        for key in ("spectral_radius", "timescale_q50"):
            value = columns[key][place]
            if head is None and value is not None:
                where = f"layer{columns['layer'][place]}/{columns['gauge'][place]}"
                told[f"spectrum/{where}/{key}"] = float(value)
    return told


def _summaries(
    layer: Layer, recurrence: Recurrence, found: EigenvalueGradients | NoGradients
) -> list[dict[str, Any]]:
    """Rows of `training_spectrum`: the layer's, and of heads one each."""
    eigenvalues = recurrence.eigenvalues()
    labels = {
        "layer": layer.index,
        "domain": "discrete",
        "mode": recurrence.mode,
        "gauge": recurrence.gauge,
        "token_spread": 0.0 if recurrence.mode == "static" else None,
    }
    norms = None if isinstance(found, NoGradients) else found.norms()
    reason = found.reason if isinstance(found, NoGradients) else None
    whole = None if norms is None else float(norms.square().sum().sqrt())
    own = {"gradient_norm": whole, "gradient_reason": reason}
    rows = [{**labels, **summarise_exactly(eigenvalues), "head": None, **own}]
    if recurrence.head_axis == "head":
        for head in range(recurrence.operator.heads):
            one = None if norms is None else float(norms[head])
            own = {"gradient_norm": one, "gradient_reason": reason}
            rows.append(
                {**labels, **summarise_exactly(eigenvalues.head(head)), "head": head, **own}
            )
    return rows
