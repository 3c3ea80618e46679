"""What was saved, as one flat dict of named tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from spectrakit.checkpoints.stored_tensors import StoredTensor
from spectrakit.checkpoints.unwrapping import models_in
from spectrakit.errors import MalformedError, UnsupportedError

_MAX_DEPTH = 16
#: Dicts that hold each other many times over would be walked for ever.
_MAX_VISITS = 2_000_000
_MAX_NAME = 4096


def _is_stored(value: object) -> bool:
    return isinstance(value, StoredTensor)


def flatten(
    saved: object, name: str, is_tensor: Callable[[object], bool] = _is_stored
) -> dict[str, Any]:
    """The model's tensors in the object `saved` of the file `name`, what `is_tensor` is true of.

    A wrapper (`{"state_dict": ..., "epoch": 3}`) is taken off; of several models (`{"model": ...,
    "ema": ...}`) each keeps its key as the first word of its names. Nested dicts become dotted
    names; numbers, strings and lists beside the tensors are left out. Raises `UnsupportedError`
    when there is no tensor under a name, and `MalformedError` when two get the same name.
    """
    if is_tensor(saved):
        raise UnsupportedError(f"{name} holds one tensor, not a state dict")
    for _ in range(_MAX_DEPTH):
        inner = _unwrapped(saved, is_tensor)
        if inner is None:
            break
        saved = inner
    flat: dict[str, Any] = {}
    visits = iter(range(_MAX_VISITS))
    for tensor_name, tensor in _walk(saved, "", visits, name, is_tensor):
        if tensor_name in flat:
            raise MalformedError(f"{name} has two tensors named {tensor_name!r}")
        flat[tensor_name] = tensor
    if not flat:
        raise UnsupportedError(
            f"{name} holds no state dict of tensors",
            hint="save the model's state_dict(), as torch.save or as safetensors",
        )
    return flat


def _is_unicode(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _unwrapped(saved: object, is_tensor: Callable[[object], bool]) -> Mapping[Any, Any] | None:
    """What is inside a training program's dict; None where `saved` is none, or all of it counts."""
    if not isinstance(saved, Mapping):
        return None
    found = models_in(saved, is_tensor)
    if len(found) == 1:
        inner: Mapping[Any, Any] = saved[found[0]]
        return inner
    return {key: saved[key] for key in found} if found and len(found) < len(saved) else None


def _walk(
    value: object,
    prefix: str,
    visits: Iterator[int],
    name: str,
    is_tensor: Callable[[object], bool],
    depth: int = 0,
) -> Iterator[tuple[str, Any]]:
    if next(visits, None) is None:
        raise MalformedError(f"{name}: its dicts hold each other over {_MAX_VISITS:,} times")
    if is_tensor(value):
        yield prefix, value
    elif isinstance(value, Mapping):
        if depth > _MAX_DEPTH:
            raise MalformedError(f"{name}: its dicts are nested more than {_MAX_DEPTH} deep")
        for key, item in value.items():
            inner = f"{prefix}.{key}" if prefix else str(key)
            if not _is_unicode(inner):
                raise MalformedError(f"{name}: it has a tensor named {inner!r}, which is no text")
            if len(inner) > _MAX_NAME:
                raise MalformedError(f"{name}: a name in it has {len(inner):,} characters")
            yield from _walk(item, inner, visits, name, is_tensor, depth + 1)
