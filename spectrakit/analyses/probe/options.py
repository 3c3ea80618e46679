"""What the `probe` analysis may be told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from spectrakit.options import Help, Options, option


@dataclass(frozen=True)
class ProbeOptions(Options):
    """prompt_set: by name. prompt_file: records the prompts are made of, where the set does not
    make its own. prompts: at most, in all. pairs: items of a prompt (pairs, passages); None for all
    that a file's records have, or else the set's own number. positions: of the item that is asked
    for, at most.

    folds: of sources; each is held out once. memory_mib: the most that states may take; they are
    projected at random where they would take more.
    """

    group: ClassVar[str] = "probe"

    prompt_set: str = option(
        "kv-retrieval",
        "What probe asks: kv-retrieval, multi-doc-qa, or a plugin's prompt set.",
        flag="prompt_set",
    )
    prompt_file: Path | None = option(
        None,
        Help(
            "Records the prompts are made of, as in the files of lost-in-the-middle.",
            unset="generated, where the set can",
        ),
        flag="prompt_file",
    )
    prompts: int = option(200, "Prompts, at most.", flag="prompts", at_least=1)
    pairs: int | None = option(
        None,
        Help(
            "Items of a prompt: pairs of key and value, or passages.",
            unset="10, or all of a file's",
        ),
        flag="pairs",
        at_least=2,
    )
    positions: int = option(5, "Positions of the item that is asked for, at most.", at_least=2)
    folds: int = option(5, "Folds of cross-validation.", at_least=2)
    memory_mib: float = option(
        1024.0,
        "MiB that probe may hold; states are projected at random where they take more.",
        flag="probe_memory",
        above=0,
    )

    @property
    def memory_bytes(self) -> int:
        """The same in bytes."""
        return int(self.memory_mib * (1 << 20))

    def sources(self, items: int) -> int:
        """How many sources of so many items make `prompts` prompts, one for each gold position."""
        return self.prompts // min(items, self.positions)
