"""What jobs ask of the workers of a Dask cluster, where workers declare that they have it.

A worker that is started with `--resources "GPU=1 memory=32e9"` has as many jobs at once as these
go into. The names are compared without their case.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from spectrakit.wording import given
from spectrakit.zoo.job import Job, Outcome

logger = logging.getLogger("spectrakit")


class Resources:
    """The most of each resource that one worker declares, by the name that workers use."""

    def __init__(self) -> None:
        self._most: dict[str, float] = {}
        self._warned = False

    def declared_by(self, workers: Iterable[Mapping[str, Any]]) -> bool:
        """Take in what workers say; whether a resource is new. One that is gone still holds."""
        before = set(self._most)
        for worker in workers:
            for name, amount in worker["resources"].items():
                self._most[name] = max(self._most.get(name, 0.0), float(amount))
        return set(self._most) != before

    def asks_for_memory(self, job: Job) -> bool:
        """Whether the memory that a job takes has to be known."""
        return job.task == "analyse" and self._name("memory") is not None

    def wanted(self, job: Job, memory: int | None) -> dict[str, float]:
        """What a job asks for; memory: in bytes, where it is known."""
        found = {}
        memory_name, gpu_name = self._name("memory"), self._name("gpu")
        if memory is not None and memory_name is not None:
            found[memory_name] = float(memory)
        named = str(job.spec.get("device", "auto")).startswith("cuda")
        if gpu_name is not None and (named or _takes_what_there_is(job)):
            found[gpu_name] = 1.0
        elif named and gpu_name is None and not self._warned:
            self._warned = True
            logger.warning(
                "no worker declares a GPU (the Dask resource GPU=1): "
                "models on cuda may be sent to workers without one"
            )
        return found

    def refusal(self, job: Job, memory: int | None) -> Outcome | None:
        """What becomes of a job that no worker can take: it would wait for ever."""
        name = self._name("memory")
        if memory is None or name is None or memory <= self._most[name]:
            return None
        reason = (
            f"it takes {memory / 1e9:.3g} GB of memory, "
            f"and no worker declares more than {self._most[name] / 1e9:.3g} GB"
        )
        hint = f"{given(batch_size=1)}, or a worker with more memory"
        return Outcome(job.name, failure="memory", exit_code=1, reason=reason, hint=hint)

    def _name(self, what: str) -> str | None:
        return next((name for name in self._most if name.casefold() == what), None)


def measured_here(job: Job) -> Job:
    """The job that says what `job` would take, on this machine, which may have no GPU."""
    spec = dict(job.spec)
    if spec.get("device", "auto") != "auto":
        spec["device"] = "cpu"
    return replace(job, task="measure", claim="", own=False, spec=spec)


def _takes_what_there_is(job: Job) -> bool:
    """Whether the model will be on a GPU where there is one."""
    return job.spec.get("device", "auto") == "auto" and job.spec.get("mode") == "data"
