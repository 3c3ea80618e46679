"""Models of transformers whose files have no language head, or another one.

Embedding models, classifiers, reward and value models are the body of a language model under a head
of their own. Hidden states and recurrences are the body's; a head is needed by nothing but scores
of next tokens, which such a model does not give.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

logger = logging.getLogger("spectrakit")

_PROBLEMS = ("missing_keys", "mismatched_keys", "unexpected_keys")


def settle_heads(model: nn.Module, report: Mapping[str, Any], model_id: str) -> dict[str, Any]:
    """What of the loading `report` is of the body, or of the head that `model` has.

    Where the files lack the language head, or have one of another shape, the model is left without;
    heads of the files that it has no place for are named in a note.
    """
    missing, mismatched, unexpected = ({_name(key) for key in report[each]} for each in _PROBLEMS)
    own = {name for name in missing | mismatched if not _of_body(model, name)}
    others = {
        name
        for name in unexpected
        if not _of_body(model, name) and _first(name) not in dict(model.named_children())
    }
    if own:
        drop: Any = model.set_output_embeddings
        drop(None)
    left_out = sorted({_first(name) for name in others})
    if left_out:
        logger.info("%s: left out, as no part of a language model: %s", model_id, _few(left_out))
    dropped = own | others
    kept = {each: [key for key in report[each] if _name(key) not in dropped] for each in _PROBLEMS}
    return dict(report) | kept


def _name(key: object) -> str:
    return str(key[0] if isinstance(key, tuple) else key)


def _first(name: str) -> str:
    return name.partition(".")[0]


def _of_body(model: nn.Module, name: str) -> bool:
    """Whether the tensor `name` is, or would be, of the model without its head."""
    body: Any = model.base_model
    prefix: Any = model.base_model_prefix
    if prefix and name.startswith(f"{prefix}."):
        return True
    inside = {*dict(body.named_children()), *dict(body.named_parameters(recurse=False))}
    return _first(name) in inside


def _few(names: list[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
