"""Where in a batch a recurrence is no number."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import
from spectrakit.dynamics import ScaledOutput
from spectrakit.mixers.attention_scores import Scores
from spectrakit.mixers.softmax_attention import ScoreOutput

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from spectrakit.dynamics import Recurrence
else:
    torch = lazy_import("torch")


def first_broken_token(recurrence: Recurrence, valid: Tensor) -> tuple[int, int] | None:
    """The sequence and the token, of those that are `valid` (B, T), where A, B or C first is NaN.

    Or infinite, but for the logarithm of what is zero. None where none is, so that it is only what
    was made of them, and where A does not come from tokens.
    """
    if recurrence.mode != "data":
        return None
    parts = (recurrence.operator, recurrence.input_map, recurrence.output_map)
    tensors = [tensor for part in parts for tensor in _tensors(part)]
    # Of attention, queries and keys before what is made of them: a NaN behind a causal mask is one
    # still, and the normaliser has it at every token.
    scored = [tensor.transpose(1, 2) for tensor in _scored(recurrence)]
    others = [t for t in tensors if t.shape[:2] == valid.shape]
    for chosen in (scored, others):
        broken = torch.zeros_like(valid)
        for tensor in chosen:
            broken |= _is_broken(tensor).reshape(*valid.shape, -1).any(-1).to(valid.device)
        broken &= valid
        if bool(broken.any()):
            sequence, token = broken.nonzero()[0].tolist()
            return sequence, token
    return None


def _scored(recurrence: Recurrence) -> list[Tensor]:
    """The queries (B, H, T, K) and keys (B, G, T, K) of attention; none of other layers."""
    read = recurrence.output_map
    read = read.inner if isinstance(read, ScaledOutput) else read
    if isinstance(read, ScoreOutput) and isinstance(read.scores, Scores):
        return [read.scores.query, read.scores.key]
    return []


def _is_broken(tensor: Tensor) -> Tensor:
    broken = ~tensor.isfinite()
    return broken if tensor.is_complex() else broken & ~tensor.isneginf()


def _tensors(part: object) -> Iterator[Tensor]:
    if isinstance(part, torch.Tensor):
        yield part
    elif is_dataclass(part):
        for field in fields(part):
            yield from _tensors(getattr(part, field.name))
