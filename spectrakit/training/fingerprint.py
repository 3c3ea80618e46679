"""What the bits of a run depend on besides its recipe, and how two of them differ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from spectrakit._version import __version__


def fingerprint(device: str, micro_batch: int, processes: int, data: str) -> dict[str, Any]:
    """Versions, threads, device and the rest; data: a digest of the examples."""
    import platform

    import transformers

    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else platform.machine()
    return {
        "spectrakit": __version__,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "threads": torch.get_num_threads(),
        "device": device.partition(":")[0],
        "processor": name,
        "micro_batch": micro_batch,
        "processes": processes,
        "data": data,
    }


def differing(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Where two fingerprints differ, in words: "threads (2, now 1)"."""
    return [
        f"{key} ({before.get(key)}, now {value})"
        for key, value in now.items()
        if before.get(key) != value
    ]
