"""Heavy libraries, imported at first use.

`--help` and `inspect` must not pay for torch (over a second), so the mathematics says

    if TYPE_CHECKING:
        import torch
    else:
        torch = lazy_import("torch")

and reads `torch.exp(...)` like any other module.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any


class _LazyModule:
    """Stands for a module that is imported when an attribute of it is first asked for."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:  # noqa: ANN401  (a module's attribute is anything)
        # Looked up where it is there already: torch.compile does not trace an import.
        module = sys.modules.get(self._name) or importlib.import_module(self._name)
        value = getattr(module, attribute)
        # Found here without this detour from now on: it is asked thousands of times.
        setattr(self, attribute, value)
        return value

    def __repr__(self) -> str:
        return f"<lazy module {self._name!r}>"


def lazy_import(name: str) -> Any:  # noqa: ANN401
    """Return a stand-in for the module `name`; nothing is imported yet."""
    return _LazyModule(name)
