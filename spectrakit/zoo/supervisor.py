"""Watches over one model, on whatever machine an executor puts it.

A supervisor runs no model itself, so none can end it: the child that does may crash, hang or take
all memory. It takes and gives JSON values alone, for they may cross a network.
"""

from __future__ import annotations

import atexit
import socket
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spectrakit._version import __version__
from spectrakit.errors import UsageError
from spectrakit.tables.columns import SCHEMA_VERSION
from spectrakit.zoo.children import Children
from spectrakit.zoo.gpus import uses_gpu
from spectrakit.zoo.job import Job, Outcome

if TYPE_CHECKING:
    from spectrakit.zoo.children import News

#: What every child needs; a fork server imports them once.
_MODULES = (
    "torch", "spectrakit.pipeline", "spectrakit.model", "spectrakit.builtin", "pyarrow.parquet",
    "pydantic",
)  # fmt: skip

_children: dict[int, Children] = {}
_lock = threading.Lock()


def supervise(job: Mapping[str, Any], news: News | None = None) -> dict[str, Any]:
    """Run a `Job.record` in a child of its own; gives an `Outcome.record`.

    Raises UsageError where this machine does not see the folder of the batch, or has another
    version of spectrakit than the one that sent the job.
    """
    asked = Job.of(job["job"])
    check_versions(job["versions"])
    claim = Path(asked.claim)
    if asked.claim and not claim.exists():
        if claim.parent.exists():  # the batch ended meanwhile
            return Outcome(asked.name, failure="lost", exit_code=1, reason="not wanted").record()
        message = f"{socket.gethostname()} does not see {claim.parent.parent}"
        raise UsageError(message, hint="a folder that all workers share")
    asked = replace(asked, own=asked.own or uses_gpu(asked.spec))
    children = _children_with(asked.limits.threads)
    return children.run(asked, news, lambda: not asked.claim or claim.exists()).record()


def versions() -> dict[str, str]:
    """What must be alike on both sides."""
    from spectrakit.plugins import plugins

    found = {"spectrakit": __version__, "schema version": str(SCHEMA_VERSION)}
    plugins().analysis_kinds()
    return found | {info.distribution: info.version for info in plugins().plugins}


def check_versions(theirs: Mapping[str, str]) -> None:
    """Raise UsageError where the machine that sent the job has other versions than this one."""
    if different := unlike(theirs, versions()):
        message = f"the worker on {socket.gethostname()} has {different}"
        raise UsageError(message, hint="install the same versions on all machines")


def unlike(own: Mapping[str, str], theirs: Mapping[str, str]) -> str:
    """In what versions differ, as "numpy 2.3, not 2.4"; "" where they do not."""
    names = sorted(name for name in {*own, *theirs} if own.get(name) != theirs.get(name))
    return ", ".join(
        f"{name} {theirs.get(name, 'missing')}, not {own.get(name, 'missing')}" for name in names
    )


def end_children() -> None:
    """End every child that this process watches over."""
    with _lock:
        for children in _children.values():
            children.close()
        _children.clear()


def _children_with(threads: int) -> Children:
    with _lock:
        if not _children:
            atexit.register(end_children)
        if threads not in _children:
            _children[threads] = Children(threads, _MODULES)
        return _children[threads]
