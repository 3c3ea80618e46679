"""Give it a checkpoint, and it tells what the model's memory looks like.

import spectrakit as sk

model = sk.open_checkpoint("state-spaces/mamba-130m")    # headers only
model.layers[3]
model.recurrence(3).eigenvalues().timescale              # nominal, from 0.1 MB of weights
sk.analyze(model, analyses=["spectrum"]).table("spectrum_summary")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from spectrakit._version import __version__

if TYPE_CHECKING:
    from spectrakit.analyses.empirical_memory.options import EmpiricalMemoryOptions
    from spectrakit.analyses.massive.options import MassiveOptions
    from spectrakit.analyses.memory.options import MemoryOptions
    from spectrakit.analyses.perturbation.options import PerturbationOptions
    from spectrakit.analyses.probe.options import ProbeOptions
    from spectrakit.analyses.propagation.options import PropagationOptions
    from spectrakit.analyses.similarity.options import SimilarityOptions
    from spectrakit.analyses.spectrum.options import SpectrumOptions
    from spectrakit.api import (
        analyze,
        batch,
        compare,
        preset_memory,
        read_batch,
        read_run,
        read_spec,
    )
    from spectrakit.hookspecs import SPEC_VERSION, hookimpl
    from spectrakit.model import Model, open_checkpoint
    from spectrakit.models_in_memory import from_model, from_state_dict
    from spectrakit.notebook import Run, Zoo
    from spectrakit.spec import RunSpec
    from spectrakit.token_options import TokenOptions
    from spectrakit.training.door import read_recipe, train
    from spectrakit.training.reading import read_training
    from spectrakit.training.tracking.watching import watch

_HOME = {
    "EmpiricalMemoryOptions": "spectrakit.analyses.empirical_memory.options",
    "MassiveOptions": "spectrakit.analyses.massive.options",
    "MemoryOptions": "spectrakit.analyses.memory.options",
    "Model": "spectrakit.model",
    "PerturbationOptions": "spectrakit.analyses.perturbation.options",
    "ProbeOptions": "spectrakit.analyses.probe.options",
    "PropagationOptions": "spectrakit.analyses.propagation.options",
    "Run": "spectrakit.notebook",
    "RunSpec": "spectrakit.spec",
    "SPEC_VERSION": "spectrakit.hookspecs",
    "SimilarityOptions": "spectrakit.analyses.similarity.options",
    "SpectrumOptions": "spectrakit.analyses.spectrum.options",
    "TokenOptions": "spectrakit.token_options",
    "Zoo": "spectrakit.notebook",
    "analyze": "spectrakit.api",
    "batch": "spectrakit.api",
    "compare": "spectrakit.api",
    "from_model": "spectrakit.models_in_memory",
    "from_state_dict": "spectrakit.models_in_memory",
    "hookimpl": "spectrakit.hookspecs",
    "open_checkpoint": "spectrakit.model",
    "preset_memory": "spectrakit.api",
    "read_batch": "spectrakit.api",
    "read_run": "spectrakit.api",
    "read_recipe": "spectrakit.training.door",
    "read_spec": "spectrakit.api",
    "read_training": "spectrakit.training.reading",
    "train": "spectrakit.training.door",
    "watch": "spectrakit.training.tracking.watching",
}

__all__ = [
    "SPEC_VERSION",
    "EmpiricalMemoryOptions",
    "MassiveOptions",
    "MemoryOptions",
    "Model",
    "PerturbationOptions",
    "ProbeOptions",
    "PropagationOptions",
    "Run",
    "RunSpec",
    "SimilarityOptions",
    "SpectrumOptions",
    "TokenOptions",
    "Zoo",
    "__version__",
    "analyze",
    "batch",
    "compare",
    "from_model",
    "from_state_dict",
    "hookimpl",
    "open_checkpoint",
    "preset_memory",
    "read_batch",
    "read_recipe",
    "read_run",
    "read_spec",
    "read_training",
    "train",
    "watch",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401  (loads a public name at first use)
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    message = f"module 'spectrakit' has no attribute {name!r}"
    raise AttributeError(message)


def __dir__() -> list[str]:
    return sorted(__all__)
