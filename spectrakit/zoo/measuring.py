"""What a run would take, told from headers alone."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import
from spectrakit.inspection import inspect_model
from spectrakit.memory_limits import needed_bytes
from spectrakit.zoo.job import Cost

if TYPE_CHECKING:
    import torch

    from spectrakit.model import Model
    from spectrakit.planning import Resolved
else:
    torch = lazy_import("torch")

#: Seconds that a run takes at least, and bytes of a file that are read in one.
_START, _READ_SPEED = 0.3, 2e8
#: A forward pass and its analyses take so many times as long as a product of matrices with as many
#: multiplications.
_OVERHEAD = 6.0
#: Bytes that either mode takes at least; data mode needs the classes of transformers.
_WEIGHTS_MODE, _DATA_MODE = 64 << 20, 256 << 20
#: Copies of a batch's hidden states that a layer and its analyses hold at once, about.
_COPIES = 12


def memory(model: Model, resolved: Resolved) -> int:
    """Bytes that the run takes besides those of an idle process, about.

    Its libraries and tables; in data mode the weights (`needed_bytes`) and the activations of one
    batch in one layer too. Weights mode reads a few megabytes at a time.
    """
    if resolved.plan.source == "weights":
        return _WEIGHTS_MODE
    source = resolved.spec.source
    dtype = resolved.spec.dtype
    states = source.batch_size * source.seq_len * _width(model) * 4
    return _DATA_MODE + needed_bytes(model.checkpoint, dtype) + _COPIES * states


def cost(model: Model, resolved: Resolved) -> Cost:
    """Everything that `--dry-run` tells of one model."""
    found = inspect_model(model)
    checkpoint = model.checkpoint
    weights = resolved.plan.source == "weights"
    read = found.weights_bytes if weights else sum(e.span for e in checkpoint.tensors.values())
    source = resolved.spec.source
    tokens = 0 if weights else source.max_tokens or 0
    return Cost(
        mode=resolved.plan.source,
        download=_to_download(model, read, weights=weights),
        read=read,
        memory=memory(model, resolved),
        seconds=_START + read / _READ_SPEED + _OVERHEAD * found.parameters * tokens / _speed(),
    )


def _to_download(model: Model, read: int, *, weights: bool) -> int:
    """Of what is read, the bytes that are on the Hub only; data mode needs whole files."""
    files = getattr(model.checkpoint, "remote_files", ())
    return min(read, sum(file.size for file in files)) if weights else sum(f.size for f in files)


def _speed() -> float:
    """Multiplications a second of this machine's products of matrices, with additions."""
    size = 384
    matrix = torch.ones(size, size)
    matrix @ matrix  # what the first one takes is of no interest
    begun = time.perf_counter()
    for _ in range(4):
        matrix @ matrix
    return 4 * size**3 / max(time.perf_counter() - begun, 1e-6)


def _width(model: Model) -> int:
    """Of the residual stream; where the config does not say, that of the widest layer."""
    config = model.checkpoint.config
    for key in ("hidden_size", "d_model", "n_embd"):
        if isinstance(config.get(key), int):
            return int(config[key])
    return max((layer.channels or 0 for layer in model.layers), default=0)
