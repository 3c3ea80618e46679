"""Whether a model and its hidden states fit in memory, answered before memory is taken."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import
from spectrakit.errors import UsageError
from spectrakit.wording import given, named

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from spectrakit.checkpoints import TensorSource
else:
    torch = lazy_import("torch")

_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
_STORED_AS = {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}

_CONTROL_GROUP = Path("/sys/fs/cgroup")


def needed_bytes(checkpoint: TensorSource, dtype: str) -> int:
    """What loading the whole model in `dtype` takes: its weights, and the copy that converts them.

    The activations of a layer come on top; they grow with the batch, not with the model.
    """
    needed = 0
    for entry in checkpoint.tensors.values():
        needed += entry.elements * _BYTES[dtype]
        if entry.dtype != _STORED_AS[dtype]:
            needed += entry.span
    return needed


def available_bytes(device: str) -> int | None:
    """Free memory of the device, or of this process's share of the machine; None if not known."""
    if device.startswith("cuda"):
        free: int = torch.cuda.mem_get_info(device)[0]
        return free
    found = [bytes_ for bytes_ in (_machine(), _control_group()) if bytes_ is not None]
    return min(found, default=None)


def check_memory(checkpoint: TensorSource, device: str, dtype: str) -> None:
    """Raise UsageError where the model would not fit, with the numbers and what would help."""
    needed, available = needed_bytes(checkpoint, dtype), available_bytes(device)
    if available is None or needed <= available:
        return
    message = (
        f"running {checkpoint.model_id} in {dtype} takes {needed / 1e9:.1f} GB of memory for its "
        f"weights, and {device} has {available / 1e9:.1f} GB free"
    )
    half = needed_bytes(checkpoint, "bfloat16")
    if dtype == "float32" and half <= available:
        raise UsageError(message, hint=f"{given(dtype='bfloat16')} takes {half / 1e9:.1f} GB")
    hint = f"{given(mode='weights')} reads a few MB, where the model has that mode"
    raise UsageError(message, hint=hint)


def check_states(states: Tensor, depths: int) -> None:
    """Raise UsageError where states like these, at so many depths, do not fit beside each other."""
    device = str(states.device)
    needed, available = depths * states.numel() * states.element_size(), available_bytes(device)
    if available is not None and needed > available:
        message = (
            f"the hidden states of a batch at {depths} depths take {needed / 1e9:.1f} GB of "
            f"memory, and {device} has {available / 1e9:.1f} GB free"
        )
        raise UsageError(message, hint=f"a smaller {named('batch_size')} or {named('seq_len')}")


def _machine() -> int | None:
    """MemAvailable of Linux; None elsewhere."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        key, _, value = line.partition(":")
        if key == "MemAvailable":
            return int(value.split()[0]) * 1024
    return None


def _control_group() -> int | None:
    """What the process's control group still allows (containers, batch queues); None without one.

    Cached files count as used there but are given back when needed.
    """
    try:
        limit = (_CONTROL_GROUP / "memory.max").read_text().strip()
        used = int((_CONTROL_GROUP / "memory.current").read_text())
        statistics = (_CONTROL_GROUP / "memory.stat").read_text().split()
    except OSError:
        return None
    if limit == "max":
        return None
    cached = int(statistics[statistics.index("inactive_file") + 1])
    return int(limit) - used + cached
