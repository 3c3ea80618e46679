"""Key-value retrieval: which value has this key, among random ones that mean nothing.

    Extract the value corresponding to the specified key in the JSON object below.

    JSON data:
    {"<uuid>": "<uuid>",
     "<uuid>": "<uuid>"}

    Key: "<uuid>"
    Corresponding value:

The format of Liu et al. 2024 (lost-in-the-middle, arXiv 2307.03172), whose files can be given too.
The answer is the value in quotes; the other values are what it is chosen from.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias
from uuid import UUID

from spectrakit.errors import UsageError
from spectrakit.prompt_sets.base import Prompt, gold_positions, moved
from spectrakit.prompt_sets.files import field, malformed, read_records
from spectrakit.wording import given

if TYPE_CHECKING:
    from spectrakit.analyses.probe.options import ProbeOptions

#: Key and value pairs, the one that is asked for first.
Pairs: TypeAlias = list[tuple[str, str]]

_PAIRS = 10


class KeyValueRetrieval:
    """The `kv-retrieval` prompt set.

    Targets: `gold_position`, and `answer_start`, the first character of the value that is asked
    for: one of 16, the same for all prompts of a source.
    """

    name: ClassVar[str] = "kv-retrieval"

    def __init__(self, options: ProbeOptions, seed: int) -> None:
        self._options = options
        self._seed = seed

    def prompts(self) -> Sequence[Prompt]:
        """See `PromptSet.prompts`."""
        options = self._options
        if options.prompt_file is None:
            pairs = options.pairs or _PAIRS
            sources = self._generated(pairs, options.sources(pairs))
        else:
            sources = _from_file(options.prompt_file, options)
        return [prompt for source in sources for prompt in _prompts(source, options.positions)]

    def _generated(self, pairs: int, sources: int) -> Iterator[Pairs]:
        draw = random.Random(self._seed)  # noqa: S311  (no secret)
        for _ in range(sources):
            uuids = [str(UUID(int=draw.getrandbits(128), version=4)) for _ in range(2 * pairs)]
            yield list(zip(uuids[::2], uuids[1::2], strict=True))


def _prompts(pairs: Pairs, positions: int) -> Iterator[Prompt]:
    key, value = pairs[0]
    lines = [f'"{k}": "{v}"' for k, v in pairs]
    for position in gold_positions(len(pairs), positions):
        data = ",\n ".join(moved(lines, position))
        yield Prompt(
            text=(
                "Extract the value corresponding to the specified key in the JSON object below."
                f'\n\nJSON data:\n{{{data}}}\n\nKey: "{key}"\nCorresponding value:'
            ),
            source=key,
            items=len(pairs),
            position=position,
            labels={"gold_position": str(position), "answer_start": value[0]},
            answer=_answer(value),
            others=tuple(_answer(other) for _, other in pairs[1:] if other != value),
        )


def _answer(value: str) -> str:
    return f' "{value}"'


def _from_file(path: Path, options: ProbeOptions) -> Iterator[Pairs]:
    records = read_records(path)
    found = [_pairs(path, number, record) for number, record in enumerate(records, 1)]
    pairs = options.pairs or min(len(each) for each in found)
    for number, each in enumerate(found[: options.sources(pairs)], 1):
        if len(each) < pairs:
            message = f"record {number} of {path.name} has {len(each)} pairs, not {pairs}"
            raise UsageError(message, hint=given(pairs=min(map(len, found))))
        yield each[:pairs]


def _pairs(path: Path, number: int, record: Mapping[str, Any]) -> Pairs:
    key = field(path, number, record, "key", str)
    found = field(path, number, record, "ordered_kv_records", list)
    for each in found:
        pair = isinstance(each, list) and len(each) == 2
        if not pair or not all(isinstance(part, str) and part for part in each):
            raise malformed(path, number, f"{str(each)[:40]!r} is no pair of key and value")
    pairs = [(k, v) for k, v in found]
    gold = [pair for pair in pairs if pair[0] == key]
    if len(gold) != 1 or len({k for k, _ in pairs}) < len(pairs):
        raise malformed(path, number, f"its key {key!r} is not one of distinct keys")
    return gold + [pair for pair in pairs if pair[0] != key]
