"""How a batch is run: what decides no number of any of its runs."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TypeVar

from spectrakit.errors import UsageError
from spectrakit.options import Help, Options, option
from spectrakit.wording import given, named
from spectrakit.zoo.job import Limits

T = TypeVar("T")


@dataclass(frozen=True)
class BatchOptions(Options):
    """How a batch is run."""

    jobs: int | None = option(
        None, Help("Models at once.", unset="one per core, as memory allows"), at_least=1
    )
    threads: int = option(
        1, "Threads of each model's process. Another number changes last digits.", at_least=1
    )
    time_limit: float = option(7200.0, "Seconds that one model may take.", above=0)
    memory_limit: float | None = option(
        None, Help("GB of memory that one model may take.", unset="what the machine has"), above=0
    )
    retries: int = option(
        2,
        "Times that a model is tried again where the network failed or its process was killed.",
        at_least=0,
    )
    retry_failed: bool = option(False, Help("Run those again that failed before.", negated=False))
    shard: str | None = option(
        None,
        Help("Run one of N parts of the list, for job arrays: 1/8 to 8/8.", "I/N", "all of it"),
    )
    scheduler: str | None = option(
        None,
        Help(
            "Run on the workers of a Dask cluster; needs spectrakit[dask].",
            metavar="ADDRESS",
            unset="this machine",
        ),
    )
    dry_run: bool = option(
        False, Help("Say what would be run and what it would take; run nothing.", negated=False)
    )

    def __post_init__(self) -> None:
        """Raises UsageError for a value that is none."""
        super().__post_init__()
        self.part(())

    @property
    def limits(self) -> Limits:
        """Of each model."""
        memory = None if self.memory_limit is None else int(self.memory_limit * 1e9)
        return Limits(self.time_limit, memory, self.threads)

    @property
    def models_at_once(self) -> int:
        """So many models, where this machine runs them."""
        return self.jobs or max(1, _cores() // self.threads)

    def part(self, entries: tuple[T, ...]) -> tuple[T, ...]:
        """Those of `entries` that are in this shard: every N-th. Raises UsageError."""
        if self.shard is None:
            return entries
        number, slash, total = self.shard.partition("/")
        right = slash and number.isdecimal() and total.isdecimal()
        if not right or not 1 <= int(number) <= int(total):
            message = f"{named('shard')} must be I/N with I from 1 to N, not {self.shard!r}"
            raise UsageError(message, hint=given(shard="1/8"))
        return entries[int(number) - 1 :: int(total)]


def _cores() -> int:
    """Those that this process may use, where the system tells."""
    affinity = getattr(os, "sched_getaffinity", None)
    return os.cpu_count() or 1 if affinity is None else len(affinity(0))
