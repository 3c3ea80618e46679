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

__version__ = "0.1.0"

if TYPE_CHECKING:
    from spectrakit.hookspecs import SPEC_VERSION, hookimpl
    from spectrakit.model import Model, open_checkpoint
    from spectrakit.models_in_memory import from_model, from_state_dict
    from spectrakit.pipeline import analyze
    from spectrakit.tables import Run, read_run

_HOME = {
    "Model": "spectrakit.model",
    "Run": "spectrakit.tables",
    "SPEC_VERSION": "spectrakit.hookspecs",
    "analyze": "spectrakit.pipeline",
    "from_model": "spectrakit.models_in_memory",
    "from_state_dict": "spectrakit.models_in_memory",
    "hookimpl": "spectrakit.hookspecs",
    "open_checkpoint": "spectrakit.model",
    "read_run": "spectrakit.tables",
}

__all__ = [
    "SPEC_VERSION",
    "Model",
    "Run",
    "__version__",
    "analyze",
    "from_model",
    "from_state_dict",
    "hookimpl",
    "open_checkpoint",
    "read_run",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401  (loads a public name at first use)
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    message = f"module 'spectrakit' has no attribute {name!r}"
    raise AttributeError(message)


def __dir__() -> list[str]:
    return sorted(__all__)
