"""Tensors that something unknown holds: listed, and not read.

What loading that thing would do with them is not known: it may scale them, or change them in
place. Their bytes are in the file, and would be given out as values that nobody ever had.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from spectrakit.checkpoints.entries import Withheld
from spectrakit.checkpoints.pickle_alarms import resaved
from spectrakit.checkpoints.placeholders import Placeholder
from spectrakit.checkpoints.stored_tensors import Storage, StoredTensor
from spectrakit.errors import MalformedError

if TYPE_CHECKING:
    from spectrakit.checkpoints.placeholders import Unpickled

#: How far down a tensor is looked for, to say where it lies.
_DEEPEST = 4
_LONGEST_KEY = 100
#: What makes a plain tensor of one that torch pickles by these names.
_PLAIN = {
    "torch._utils._rebuild_qtensor": ".dequantize()",
    "torch._utils._rebuild_sparse_tensor": ".to_dense()",
    "torch._utils._rebuild_sparse_csr_tensor": ".to_dense()",
}


def is_kept(value: object) -> bool:
    """Whether `value` is a tensor, or something not loaded that holds one."""
    return isinstance(value, StoredTensor) or hidden_in(value) is not None


def hidden_in(value: object) -> StoredTensor | Storage | None:
    """A tensor or storage that was pickled into `value`, where that was not loaded."""
    return value.hides if isinstance(value, Placeholder) else None


def check_no_object(read: Unpickled, file: str) -> None:
    """Raise MalformedError where what was saved is one object: a whole module, say."""
    if isinstance(read.value, Placeholder):
        raise _whole(read.value, "", file)


def check_not_only_objects(read: Unpickled, kept: Mapping[str, object], file: str) -> None:
    """Raise MalformedError where all tensors are inside of objects, a module under a key, say.

    A state dict of tensors of a kind that is not loaded is none of these: its names have dots.
    """
    first = next(iter(kept.values()))
    plain = any(isinstance(value, StoredTensor) for value in kept.values())
    if plain or not isinstance(first, Placeholder) or first.type_name in _PLAIN:
        return
    path, key = _place_of(read.value, first)
    if isinstance(key, str) and "." not in key:
        raise _whole(first, path + _step(key), file)


def withheld(kept: Mapping[str, object], read: Unpickled, file: str) -> dict[str, Withheld]:
    """Why some of `kept` are not read, by name: not plain, or held by something else too."""
    found: dict[str, Withheld] = {}
    again = None
    for name, value in kept.items():
        if isinstance(value, Placeholder):
            found[name] = _inside(name, value, read, file)
        elif isinstance(value, StoredTensor) and value.key in read.holders:
            again = again or resaved(file, _path_to(read.value, value))
            holder = f"a pickled {read.holders[value.key]}, which was not loaded"
            found[name] = Withheld(f"{file}: {holder}, holds {name} too and may change it", again)
    return found


def _inside(name: str, value: Placeholder, read: Unpickled, file: str) -> Withheld:
    reason = f"{file}: {name} is inside a pickled {value.type_name}, which was not loaded"
    plain = _PLAIN.get(value.type_name)
    if plain is None:
        made = "where it was made, with plain tensors"
        return Withheld(reason, f"{made}: torch.save(model.state_dict(), 'weights.pt')")
    each = f"{{name: tensor{plain} for name, tensor in {{}}.items()}}"
    return Withheld(reason, resaved(file, _path_to(read.value, value), each))


def _whole(value: Placeholder, path: str, file: str) -> MalformedError:
    where = f"{file}: {path} " if path else f"{file} "
    is_dict = value.type_name.lower().endswith("dict")
    return MalformedError(
        f"{where}is a pickled {value.type_name}, not a state dict; nothing of it was loaded",
        hint=resaved(file, path, "dict({})" if is_dict else "{}.state_dict()"),
    )


def _path_to(saved: object, tensor: object) -> str:
    """How the dict that holds `tensor` is got at from what was saved: `['model']`, say."""
    return _place_of(saved, tensor)[0]


def _place_of(saved: object, tensor: object) -> tuple[str, object]:
    """That, and the key of `tensor` in it; nothing where it lies deeper than anyone keeps it."""
    level = [("", saved)]
    seen: set[int] = set()  # dicts may hold each other many times over
    for _ in range(_DEEPEST):
        inner: list[tuple[str, object]] = []
        for path, value in level:
            if not isinstance(value, Mapping) or id(value) in seen:
                continue
            seen.add(id(value))
            for key, item in value.items():
                if item is tensor:
                    return path, key
                if isinstance(item, Mapping):
                    inner.append((path + _step(key), item))
        level = inner
    return "", None


def _step(key: object) -> str:
    shown = repr(key)
    return f"[{shown if len(shown) <= _LONGEST_KEY else '...'}]"
