"""The way to a Dask cluster that is there already: its scheduler found, its versions compared."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from spectrakit.errors import NetworkError, UsageError
from spectrakit.wording import given, named
from spectrakit.zoo.dask_tasks import call
from spectrakit.zoo.supervisor import unlike, versions

if TYPE_CHECKING:
    from distributed import Client

#: [SCHEME://]HOST:PORT, as `distributed` takes it.
_ADDRESS = re.compile(r"(?:(?:tcp|tls|ws|wss)://)?(?:[^\s/:@\[\]]+|\[[0-9a-fA-F:.]+\]):(\d{1,5})")
#: Seconds for all workers to say which versions they have.
_ASKED = 30.0
#: Of these a difference is one in how tasks are sent: exactly alike, or up to so many numbers.
_TRANSPORT = {"python": 2, "dask": None, "distributed": None, "msgpack": 1}
#: Of these a difference may be one in the last digits of the numbers.
_NUMERICAL = ("torch", "transformers", "numpy", "scipy")
_SAME = "install the same versions on all machines"


def connect(address: str, timeout: float) -> Client:
    """A client of the scheduler at `address`; it gives up after about `timeout` seconds.

    Raises UsageError for what is no address, where Dask is not installed, and where the scheduler
    or a worker has other versions than this process; NetworkError where no scheduler answers.
    """
    check_address(address)
    distributed = _distributed()
    with ThreadPoolExecutor(1) as elsewhere:  # this thread may have a loop running, a notebook's
        elsewhere.submit(asyncio.run, _answers(address, timeout)).result()
    try:
        client = distributed.Client(address, timeout=timeout, set_as_default=False)
    except OSError as error:
        raise _unreachable(address, error) from error
    try:
        check_versions(client, address)
    except BaseException:
        let_go(client)
        raise
    return client


def let_go(client: Client) -> None:
    """Close a client, whether its scheduler is there or not."""
    with suppress(OSError, RuntimeError):
        client.close(timeout=2)


def check_address(address: str) -> None:
    """Raise UsageError where `address` cannot be that of a scheduler."""
    match = _ADDRESS.fullmatch(address)
    if match is None or not 0 < int(match.group(1)) < 1 << 16:
        message = f"{named('scheduler')} {address!r} is not an address"
        raise UsageError(message, hint=given(scheduler="tcp://HOST:8786"))


def check_versions(client: Client, address: str) -> None:
    """Raise UsageError that names the first worker with other versions than this process.

    The scheduler needs no spectrakit: it imports nothing of what it passes on.
    """
    packages = client.get_versions(packages=list(_NUMERICAL))
    own = _transport(packages["client"])
    found = {f"scheduler at {address}": _transport(packages["scheduler"])}
    found |= {f"worker at {place}": _transport(of) for place, of in packages["workers"].items()}
    for what, theirs in found.items():
        _compare(what, own, theirs)
    for place, theirs in _told_by_workers(client).items():
        if isinstance(theirs, ImportError | AttributeError):
            message = f"the Dask worker at {place} cannot import spectrakit: {theirs}"
            raise UsageError(message, hint=_SAME) from theirs
        if not isinstance(theirs, Exception):
            _compare(f"worker at {place}", versions(), theirs)


def _compare(what: str, own: Mapping[str, str], theirs: Mapping[str, str]) -> None:
    if different := unlike(own, theirs):
        raise UsageError(f"the Dask {what} has {different}", hint=_SAME)


def _told_by_workers(client: Client) -> dict[str, Any]:
    """Versions, or why not; nothing where not all answer in time, as every job asks again."""
    with suppress(TimeoutError):
        return dict(client.run(*call(versions), on_error="return", callback_timeout=_ASKED))
    return {}


def check_token(hub: Mapping[str, Any] | None) -> None:
    """Raise UsageError for an access token: a cluster's scheduler and workers log what they get."""
    if hub and hub.get("token"):
        message = f"{named('token')} is not sent to the workers of a cluster"
        raise UsageError(message, hint="set HF_TOKEN where the workers are started")


def numerical_differences(client: Client) -> Iterator[str]:
    """A line for each worker with other versions of numerical libraries than this process."""
    packages = client.get_versions(packages=list(_NUMERICAL))
    own = _numerical(packages["client"])
    for place, theirs in sorted(packages["workers"].items()):
        if different := unlike(own, _numerical(theirs)):
            yield f"the Dask worker at {place} has {different}: last digits may differ"


def quieten() -> None:
    """Keep back the tracebacks of a lost scheduler, which is told in a line here."""
    for name in ("distributed.client", "distributed.utils", "tornado.application"):
        log = logging.getLogger(name)
        if _of_something_else not in log.filters:
            log.addFilter(_of_something_else)


def _of_something_else(record: logging.LogRecord) -> bool:
    """Whether what is logged is anything but a connection that was lost."""
    error = record.exc_info[1] if record.exc_info else None
    lost = isinstance(error, OSError | asyncio.CancelledError) or str(record.msg).startswith(
        "Failed to reconnect"
    )
    return not lost


async def _answers(address: str, timeout: float) -> None:
    """Shake hands with a scheduler. `Client` waits for ever where something else is silent."""
    from distributed.comm import connect as open_comm
    from distributed.security import Security

    try:
        arguments = Security().get_connection_args("client")
        opened = open_comm(address, timeout=0.9 * timeout, **arguments)
        comm = await asyncio.wait_for(opened, timeout)
    except TypeError as error:  # tls:// without certificates
        message = f"the Dask scheduler at {address} asks for certificates: {error}"
        raise UsageError(message, hint="distributed.comm.tls in Dask's configuration") from error
    except Exception as error:
        raise _unreachable(address, error) from error
    comm.abort()


def _unreachable(address: str, error: BaseException) -> NetworkError:
    cause = error.__cause__
    while cause is not None and cause.__cause__ is not None:
        cause = cause.__cause__
    known = isinstance(cause, OSError) and cause.strerror
    why = f" ({cause.strerror})" if isinstance(cause, OSError) and known else ""
    message = f"no Dask scheduler answers at {address}{why}"
    return NetworkError(message, hint="start one with: dask scheduler")


def _transport(info: Mapping[str, Any] | None) -> dict[str, str]:
    found = {} if not info else info["packages"]
    return {
        name.replace("python", "Python"): ".".join(str(found.get(name)).split(".")[:count])
        for name, count in _TRANSPORT.items()
    }


def _numerical(info: Mapping[str, Any] | None) -> dict[str, str]:
    """Without local versions: those for CPUs and for CUDA go by the same numbers."""
    found = {} if not info else info["packages"]
    return {name: str(found.get(name)).partition("+")[0] for name in _NUMERICAL}


def _distributed() -> Any:  # noqa: ANN401  (a module)
    try:
        import distributed
    except ImportError as error:
        message = f"{named('scheduler')} needs Dask, which is not installed"
        raise UsageError(message, hint="pip install 'spectrakit[dask]'") from error
    return distributed
