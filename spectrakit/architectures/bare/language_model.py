"""A whole language model of Mamba or Mamba-2 in a bare state dict, whose shapes are its config.

    [P.]embedding.weight (V, E), [Q.]layers.N.mixer.*, [Q.]layers.N.norm.weight (E,),
    [P.]norm_f.weight (E,), and [P.]lm_head.weight (V, E) unless the embedding is the head

Whatever the words in front of them are (mamba_ssm, mambapy, mamba-minimal), and if nothing else is
there: then the tensors are a model of transformers, and run as one. Epsilons are those of all
three, 1e-5.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spectrakit.architectures.bare.mambas import GROUPS
from spectrakit.architectures.mamba_config import transformers_config
from spectrakit.architectures.transformers_mamba import BLOCKS
from spectrakit.mixers import Mamba, Mamba2

if TYPE_CHECKING:
    from spectrakit.architectures.base import Layer
    from spectrakit.checkpoints import TensorSource

_BLOCK = re.compile(r"((?:.+\.)?(?:layers|blocks)\.)(\d+)\.(?:mixer|mamba)")
_NORM = "norm.weight"
_EMBEDDING = re.compile(r"(?:.+\.)?(?:embeddings?|embed|wte|embed_tokens|token_embedding)\.weight")
_LAST_NORM = re.compile(r"(?:.+\.)?(?:norm_f|final_norm|ln_f|norm)\.weight")
_HEAD = re.compile(r"(?:.+\.)?(?:lm_head|head|output)\.weight")


@dataclass(frozen=True)
class WholeModel:
    """config: as transformers would have it. names: its names of the file's tensors."""

    config: Mapping[str, Any]
    names: Mapping[str, str]


def whole_model(source: TensorSource, layers: Sequence[Layer]) -> WholeModel | str:
    """The model, or what keeps these layers from being one that can be run."""
    mixers = {layer.mixer for layer in layers}
    mixer = layers[0].mixer if layers else None
    if len(mixers) != 1 or not isinstance(mixer, Mamba | Mamba2):
        return "its class is not known"
    if isinstance(mixer, Mamba2) and GROUPS.key not in source.config:
        return f"its number of groups ({GROUPS.key}) is not in the weights"
    names = _blocks(source, layers)
    if names is None:
        return "its layers are not blocks of a norm and a mixer each"
    width = mixer.model_width
    rest = [name for name in source.tensors if name not in names]
    found = {}
    for role, pattern, new in _AROUND:
        own = [name for name in rest if pattern.fullmatch(name)]
        if len(own) == 1:
            found[role] = source.tensors[own[0]]
            names[own[0]] = new
            rest.remove(own[0])
    for role in ("embedding", "last norm"):
        if role not in found:
            return f"it has no {role} of a language model"
    if rest:
        return f"it has {rest[0]}, which is no part of a language model of Mamba"
    vocabulary = found["embedding"].shape
    head = found.get("head")
    fits = found["last norm"].shape == (width,) and vocabulary[1:] == (width,)
    fits = fits and mixer.channels % width == 0
    if not fits or (head is not None and head.shape != vocabulary):
        return "its embedding, last norm and head do not fit each other"
    config = transformers_config(mixer, len(layers), vocabulary[0], tied=head is None)
    return WholeModel(config, names)


_AROUND = (
    ("embedding", _EMBEDDING, "backbone.embeddings.weight"),
    ("head", _HEAD, "lm_head.weight"),
    ("last norm", _LAST_NORM, "backbone.norm_f.weight"),
)


def _blocks(source: TensorSource, layers: Sequence[Layer]) -> dict[str, str] | None:
    """transformers' names of all tensors in the blocks; None where they are not numbered so."""
    names: dict[str, str] = {}
    before = None
    for layer in layers:
        match = _BLOCK.fullmatch(layer.file_path or "")
        if match is None or int(match[2]) != layer.index or match[1] != (before or match[1]):
            return None
        before = match[1]
        block = f"{before}{match[2]}."
        if f"{block}{_NORM}" not in source.tensors:
            return None
        names[f"{block}{_NORM}"] = f"{BLOCKS}{match[2]}.{_NORM}"
        own = set(layer.parameters.values())
        missing = layer.mixer is None or layer.mixer.shapes().keys() - layer.parameters.keys()
        if missing:
            return None
        for name in own:
            names[name] = f"{BLOCKS}{match[2]}.mixer{name[len(layer.file_path or '') :]}"
    return names
