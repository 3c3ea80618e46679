"""Which GPUs there are, told without torch: a process that asks torch cannot fork any more."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

_DEVICES = Path("/dev")
#: Devices of a spec for which any GPU does; `cuda:1` names one.
_ANY = ("auto", "cuda")


def visible_gpus() -> tuple[str, ...]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is None:
        names = (path.name.removeprefix("nvidia") for path in _DEVICES.glob("nvidia[0-9]*"))
        return tuple(sorted((name for name in names if name.isdecimal()), key=int))
    words = [word.strip() for word in given.split(",")]
    return tuple(word for word in words if word and word != "-1")


def uses_gpu(spec: Mapping[str, Any]) -> bool:
    """Whether a run with this `RunSpec.record` uses a GPU of this machine, as far as is known."""
    device = str(spec.get("device", "auto"))
    if device.startswith("cuda"):
        return True
    return device == "auto" and spec.get("mode") != "weights" and bool(visible_gpus())


def free_gpu(spec: Mapping[str, Any], taken: Iterable[str]) -> str | None:
    """A GPU for the run that no other has; None where all are taken.

    "" where there is nothing to choose: the spec names its GPU, or none is known of.
    """
    gpus = visible_gpus()
    if not gpus or spec.get("device", "auto") not in _ANY:
        return ""
    busy = set(taken)
    return next((gpu for gpu in gpus if gpu not in busy), None)
