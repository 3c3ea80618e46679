"""A checkpoint in MLX's layout as one in that of transformers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spectrakit.checkpoints.entries import Packed, TensorEntry
from spectrakit.checkpoints.mlx.naming import KERNEL, Rule, rules
from spectrakit.checkpoints.mlx.packed import BITS, ChannelsFirst, Unpacked
from spectrakit.checkpoints.over_base import OverBase
from spectrakit.checkpoints.safetensors_header import row_major
from spectrakit.errors import MalformedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import torch

    from spectrakit.checkpoints.checkpoint import Checkpoint, Identity
    from spectrakit.checkpoints.turns import Turn

_ENDS = ("scales", "biases")
_WORD = "U32"
#: How mlx-lm calls the module that has all experts, whatever the family.
_EXPERTS = ".switch_mlp."
#: Keys of the config that say how it was quantised.
_SECTIONS = ("quantization", "quantization_config")


@dataclass(frozen=True)
class Piece:
    """A tensor as MLX computes with it, before names are put back: made of some stored ones."""

    sources: tuple[str, ...]
    shape: tuple[int, ...]
    turn: Turn | None = None


@dataclass(frozen=True)
class Whole:
    """A tensor of transformers: pieces, and what is made of them."""

    pieces: tuple[Piece, ...]
    shape: tuple[int, ...]
    turn: Turn | None = None

    @property
    def sources(self) -> tuple[str, ...]:
        """The stored tensors that it is made of."""
        return tuple(name for piece in self.pieces for name in piece.sources)

    @property
    def as_stored(self) -> bool:
        """Whether it is one stored tensor, unchanged."""
        return self.turn is None and self.pieces[0].turn is None


def restored(checkpoint: Checkpoint, identity: Identity) -> Checkpoint:
    """`checkpoint` in the layout of transformers: itself, unless it is in that of MLX.

    Raises MalformedError where packed tensors do not belong together.
    """
    if not any(_may_be_turned(name, entry) for name, entry in checkpoint.tensors.items()):
        return checkpoint  # nearly always, and at once
    pieces = _pieces(checkpoint)
    turned = any(piece.turn is not None for piece in pieces.values())
    if not turned and not any(_EXPERTS in name for name in pieces):
        return checkpoint
    return RestoredCheckpoint(identity, checkpoint, _wholes(checkpoint, pieces))


def _may_be_turned(name: str, entry: TensorEntry) -> bool:
    """Whether the tensor can be packed, of a kernel or of joined experts."""
    return entry.dtype == "U32" or entry.shape[2:] == (1,) or _EXPERTS in name


def _pieces(checkpoint: Checkpoint) -> dict[str, Piece]:
    """The tensors by name, packed ones and those of their groups as one."""
    tensors = checkpoint.tensors
    beside = {stem + end for stem in _packed(checkpoint) for end in _ENDS}
    found = {}
    for name, entry in tensors.items():
        if name in beside:
            continue
        stem = name.removesuffix("weight")
        if name != stem and f"{stem}scales" in beside:
            found[name] = _unpacked(checkpoint, stem)
        elif _channels_last(name, entry):
            turn = ChannelsFirst()
            found[name] = Piece((name,), turn.shape([entry.shape]), turn)
        else:
            found[name] = Piece((name,), entry.shape)
    return found


def _channels_last(name: str, entry: TensorEntry) -> bool:
    """Whether it is a depthwise kernel (C, K, 1); one of a single tap is alike in both layouts."""
    three = len(entry.shape) == 3 and entry.shape[2] == 1 < entry.shape[1]
    return three and KERNEL.fullmatch(name) is not None


def _packed(checkpoint: Checkpoint) -> list[str]:
    """What stands before `weight`, `scales` and `biases` of each packed matrix."""
    tensors = checkpoint.tensors
    stems = [name.removesuffix("weight") for name in tensors if name.endswith(".weight")]
    return [
        stem
        for stem in stems
        if tensors[f"{stem}weight"].dtype == "U32"
        and all(f"{stem}{end}" in tensors for end in _ENDS)
    ]


def _unpacked(checkpoint: Checkpoint, stem: str) -> Piece:
    names = (f"{stem}weight", f"{stem}scales", f"{stem}biases")
    shapes = [checkpoint.tensors[name].shape for name in names]
    section = next((s for s in map(checkpoint.config.get, _SECTIONS) if isinstance(s, dict)), {})
    own = section.get(stem.rstrip("."))
    bits = (own if isinstance(own, dict) else section).get("bits")
    try:
        if bits not in BITS:
            raise ValueError
        turn = Unpacked(bits)
        return Piece(names, turn.shape(shapes), turn)
    except (ValueError, IndexError) as error:
        found = ", ".join(f"{n} {list(shape)}" for n, shape in zip(names, shapes, strict=True))
        message = f"{checkpoint.model_id}: {found} are not of {bits!r} bits, as its config says"
        raise MalformedError(message, hint="convert the original model again") from error


def _wholes(checkpoint: Checkpoint, pieces: Mapping[str, Piece]) -> dict[str, Whole]:
    found: dict[str, Whole] = {}
    used: set[str] = set()
    for rule in _rules(checkpoint):
        for module in _modules(rule, pieces):
            names = [f"{module}{name}" for name in rule.names]
            if used.isdisjoint(names) and all(name in pieces for name in names):
                made = _whole(checkpoint, [pieces[name] for name in names], rule.turn, names)
                found[f"{module}{rule.name}"] = made
                used.update(names)
    left = {
        name: Whole((piece,), piece.shape) for name, piece in pieces.items() if name not in used
    }
    return found | left


def _rules(checkpoint: Checkpoint) -> tuple[Rule, ...]:
    try:
        return rules(checkpoint.config)
    except (ValueError, TypeError, KeyError, IndexError) as error:
        message = (
            f"the config of {checkpoint.model_id} does not say what MLX multiplied by: {error}"
        )
        raise MalformedError(message, hint="convert the original model again") from error


def _modules(rule: Rule, names: Iterable[str]) -> Iterator[str]:
    """What stands before the first of the rule's names, with its dot."""
    first = re.compile(rf"(({rule.only})\.)?{re.escape(rule.names[0])}")
    for name in names:
        if match := first.fullmatch(name):
            yield match[1] or ""


def _whole(
    checkpoint: Checkpoint, pieces: Sequence[Piece], turn: Turn | None, names: Sequence[str]
) -> Whole:
    shapes = [piece.shape for piece in pieces]
    try:
        shape = shapes[0] if turn is None else turn.shape(shapes)
    except (ValueError, IndexError) as error:
        found = ", ".join(f"{n} {list(s)}" for n, s in zip(names, shapes, strict=True))
        message = f"{checkpoint.model_id}: {found} do not belong together"
        raise MalformedError(message, hint="convert the original model again") from error
    return Whole(tuple(pieces), shape, turn)


class RestoredCheckpoint(OverBase):
    """A checkpoint of MLX under the names, and in the layout, of transformers."""

    def __init__(self, identity: Identity, base: Checkpoint, wholes: Mapping[str, Whole]) -> None:
        """Use `open_checkpoint`."""
        self._wholes = wholes
        unpacked = not any(whole.as_stored and _is_word(base, whole) for whole in wholes.values())
        config: Mapping[str, Any] = base.config
        if unpacked:  # nothing is quantised any more
            config = {key: value for key, value in config.items() if key not in _SECTIONS}
        tensors = {name: _entry(base, name, whole) for name, whole in wholes.items()}
        super().__init__(identity, base, tensors, config)

    def _of_base(self, names: Sequence[str]) -> list[str]:
        return [source for name in names for source in self._wholes[name].sources]

    def _made(self, names: Sequence[str]) -> dict[str, torch.Tensor]:
        stored = self.base.read(self._of_base(names))
        return {name: _value(self._wholes[name], stored) for name in names}

    def _over(self, base: Checkpoint) -> Checkpoint:
        return base  # opened in the same way, it is restored


def _is_word(base: Checkpoint, whole: Whole) -> bool:
    return base.tensors[whole.sources[0]].dtype == _WORD


def _entry(base: Checkpoint, name: str, whole: Whole) -> TensorEntry:
    stored = [base.tensors[source] for source in whole.sources]
    dtype = stored[0].dtype
    packed = None
    if any(isinstance(piece.turn, Unpacked) for piece in whole.pieces):
        bits = {piece.turn.bits for piece in whole.pieces if isinstance(piece.turn, Unpacked)}
        kind = "/".join(f"{n}-bit" for n in sorted(bits))
        dtype, packed = "F32", Packed(kind, sum(entry.span for entry in stored))
    first = stored[0]
    return TensorEntry(
        name,
        dtype,
        whole.shape,
        row_major(whole.shape),
        first.file,
        first.offset,
        stored=first.stored if whole.as_stored else None,
        withheld=next((entry.withheld for entry in stored if entry.withheld), None),
        packed=packed,
    )


def _value(whole: Whole, stored: Mapping[str, torch.Tensor]) -> torch.Tensor:
    pieces = []
    for piece in whole.pieces:
        tensors = [stored[source] for source in piece.sources]
        pieces.append(tensors[0] if piece.turn is None else piece.turn.values(tensors))
    return pieces[0] if whole.turn is None else whole.turn.values(pieces)
