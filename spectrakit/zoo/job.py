"""What travels between a batch and the process that runs one of its models, as JSON values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, Self, TypeAlias

from spectrakit.errors import NetworkError

#: analyse: make the run. measure: say from headers what it would cost. summarise: write the summary
#: of the batch, whose folder is then the job's.
Task: TypeAlias = Literal["analyse", "measure", "summarise"]

#: Why a model has no run. error: a line that says it, with its own exit code. crashed: a signal
#: (segmentation fault, abort). memory, time: beyond its limit, or killed by the system for want of
#: memory. exited: its code left the process. killed: somebody else ended it. lost: what watched
#: over it is gone.
Failure: TypeAlias = Literal["error", "crashed", "memory", "time", "exited", "killed", "lost"]


@dataclass(frozen=True)
class Limits:
    """What one model may take.

    seconds: of time, waiting for memory left out. memory: bytes beyond those of an idle process;
    None for what the machine has. threads: of its numerical libraries; never what happens to be
    free, for the number of threads changes last digits.
    """

    seconds: float = 7200.0
    memory: int | None = None
    threads: int = 1


@dataclass(frozen=True)
class Job:
    """One model of a batch, to be run elsewhere.

    name: of the entry. spec: a `RunSpec.record`. folder: where the run goes. key: what it is known
    again by (`spectrakit.zoo.keys`). task: see `Task`. hub: keywords of `open_checkpoint` that say
    how the Hub is used. draw: what renders the pictures, as "module:name"; None for none. own: in a
    process that is started afresh, not forked: CUDA asks for that. flags: whether errors name flags
    (see `spectrakit.wording`). claim: the file that says who wants it; without it, nobody does.
    """

    name: str
    spec: Mapping[str, Any]
    folder: str
    key: str
    task: Task = "analyse"
    hub: Mapping[str, Any] | None = None
    draw: str | None = None
    limits: Limits = Limits()
    own: bool = False
    flags: bool = False
    claim: str = ""

    def record(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Self:
        """What `record` made."""
        return cls(**{**record, "limits": Limits(**record["limits"])})


@dataclass(frozen=True)
class Cost:
    """What a run would take, from headers alone.

    mode: weights or data. download: bytes that are not on this disk yet. read: bytes of tensors.
    memory: bytes. seconds: about; downloads left out.
    """

    mode: str
    download: int
    read: int
    memory: int
    seconds: float


@dataclass(frozen=True)
class Outcome:
    """What became of a job.

    failure: why there is no run; None where there is one. exit_code: that of a `SpectrakitError`
    where it was one, 1 for any other failure. computed: whether anything was; a run that was there
    already and is still right is left alone. reason, hint: one line each. folder_full: the folder
    of the batch cannot be written to, which is no fault of the model's. final: the network is not
    to be used, so that trying again is of no use. seconds, peak_memory
    (bytes): of the process. final: another time would change nothing. log: the last lines it wrote.
    """

    name: str
    failure: Failure | None = None
    exit_code: int = 0
    computed: bool = True
    reason: str = ""
    hint: str | None = None
    folder_full: bool = False
    busy: bool = False
    final: bool = False
    seconds: float = 0.0
    peak_memory: int = 0
    log: str = ""
    cost: Cost | None = None

    @property
    def finished(self) -> bool:
        """Whether there is a run now."""
        return self.failure is None

    @property
    def passing(self) -> bool:
        """Whether it may go better at another time: the network, or a process that was lost."""
        network = self.failure == "error" and self.exit_code == NetworkError.exit_code
        network = network and not self.final
        return network or self.failure in ("lost", "killed")

    def record(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Self:
        """What `record` made; keys that are none are left out."""
        known = {field.name for field in fields(cls)}
        found = {key: value for key, value in record.items() if key in known}
        if found.get("cost") is not None:
            found["cost"] = Cost(**found["cost"])
        return cls(**found)
