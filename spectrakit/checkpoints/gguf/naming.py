"""From the tensors of a GGUF file to those of a model, by the table of its family."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spectrakit.errors import MalformedError

if TYPE_CHECKING:
    from spectrakit.checkpoints.gguf.metadata import Metadata
    from spectrakit.checkpoints.turns import Shape, Turn

_BLOCK = re.compile(r"blk\.(\d{1,5})\.(.+)")
_ENDS = (".weight", ".bias")
#: Factors of rotary frequencies, which a model computes from its config.
_COMPUTED = re.compile(r"(blk\.\d+\.)?(rope_freqs|rope_factors_\w+|attn_rot_embd)\.weight")


@dataclass(frozen=True)
class Made:
    """A tensor of the model: its name, the tensors of the file that it is of, and how."""

    name: str
    sources: tuple[str, ...]
    shape: Shape
    turn: Turn | None


@dataclass(frozen=True)
class Part:
    """A tensor of the model that is not one of the file as it is.

    sources: names in the file, of the same block. A part whose sources are not all there is none.
    """

    name: str
    sources: tuple[str, ...]
    turn: Turn | None = None


Parts = Callable[["Metadata", int], "Iterator[Part]"]


@dataclass(frozen=True)
class Naming:
    """What the tensors of a family are called.

    outside, inside: names by those of the file, without the ending, .weight or .bias. blocks: what
    stands before a block's number. parts: the tensors of a block that need more than another name;
    outer_parts: those of no block.
    """

    blocks: str
    outside: Mapping[str, str]
    inside: Mapping[str, str]
    parts: Parts | None = None
    outer_parts: Callable[[Metadata], Iterator[Part]] | None = None


@dataclass(frozen=True)
class GGUFFamily:
    """A family of models: its architectures in GGUF, their tensors, and the config they make."""

    architectures: tuple[str, ...]
    config: Callable[[Metadata], dict[str, Any]]
    naming: Callable[[Metadata], Naming]


def made_of(metadata: Metadata, naming: Naming) -> list[Made]:
    """The model's tensors. Raises MalformedError for shapes that are not the family's.

    A tensor of the file that its family does not have keeps its name.
    """
    made: list[Made] = []
    used: set[str] = set()
    for part, prefix, block in _parts(metadata, naming):
        sources = tuple(_stored(metadata, block + source) for source in part.sources)
        if all(source in metadata.shapes for source in sources):
            made.append(_made(metadata, prefix + part.name, sources, part.turn))
            used.update(sources)
    left = [name for name in metadata.shapes if name not in used]
    left = [n for n in left if not _COMPUTED.fullmatch(n) and not _guesses(n, metadata)]
    return made + [_made(metadata, _renamed(name, naming), (name,), None) for name in left]


def _parts(metadata: Metadata, naming: Naming) -> Iterator[tuple[Part, str, str]]:
    """Each part, and what stands before its names in the model and in the file."""
    if naming.outer_parts is not None:
        for part in naming.outer_parts(metadata):
            yield part, "", ""
    for index in range(metadata.blocks if naming.parts is not None else 0):
        assert naming.parts is not None  # noqa: S101
        for part in naming.parts(metadata, index):
            yield part, f"{naming.blocks}{index}.", f"blk.{index}."


def _stored(metadata: Metadata, name: str) -> str:
    """The name in the file: some tensors of some versions have no ending."""
    bare = name.removesuffix(".weight")
    return bare if name not in metadata.shapes and bare in metadata.shapes else name


def _made(metadata: Metadata, name: str, sources: tuple[str, ...], turn: Turn | None) -> Made:
    shapes = [metadata.shapes[source] for source in sources]
    if turn is None:
        return Made(name, sources, shapes[0], None)
    try:
        return Made(name, sources, turn.shape(shapes), turn)
    except (ValueError, IndexError) as error:
        found = ", ".join(f"{s} {list(shape)}" for s, shape in zip(sources, shapes, strict=True))
        message = f"{metadata.file}: {name} cannot be made of {found}"
        raise MalformedError(message, hint="convert the original model again") from error


def _guesses(name: str, metadata: Metadata) -> bool:
    """Whether a tensor is of the layers that guess tokens further on, which are not the model's."""
    block = _BLOCK.fullmatch(name)
    return block is not None and metadata.blocks <= int(block[1])


def _renamed(name: str, naming: Naming) -> str:
    block = _BLOCK.fullmatch(name)
    inner = name if block is None else block[2]
    found = _looked_up(inner, naming.outside if block is None else naming.inside)
    if found is None:
        return name
    return found if block is None else f"{naming.blocks}{int(block[1])}.{found}"


def _looked_up(name: str, table: Mapping[str, str]) -> str | None:
    """The name in a table, with its own ending; a weight of some versions has none."""
    for end in _ENDS:
        stem = name.removesuffix(end)
        if stem != name and stem in table:
            return table[stem] + end
    return table[name] + ".weight" if name in table else None
