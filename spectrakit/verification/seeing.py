"""What a Hub has of one repository now: what it says, and what the headers say."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from spectrakit.catalog.assignments import values_of
from spectrakit.catalog.records import Record
from spectrakit.checkpoints.checkpoint import Checkpoint
from spectrakit.checkpoints.hub import hub_http
from spectrakit.checkpoints.hub_cache import is_offline
from spectrakit.checkpoints.hub_http import UnreachableError
from spectrakit.checkpoints.hub_info import repo_info
from spectrakit.errors import NetworkError, SpectrakitError, scrub
from spectrakit.inspection import inspect_model
from spectrakit.model import open_checkpoint
from spectrakit.plain import plain

if TYPE_CHECKING:
    from spectrakit.catalog import CatalogEntry
    from spectrakit.checkpoints.access import HubAccess
    from spectrakit.checkpoints.hub_http import HubHttp
    from spectrakit.inspection import Inspection
    from spectrakit.model import Model


@dataclass(frozen=True)
class Sight:
    """What was seen of a repository.

    error: why its headers could not be read, None where they were. bytes_read, of file_bytes: what
    reading them took, of the weight files' size.
    """

    record: Record
    error: SpectrakitError | None = None
    bytes_read: int = 0
    file_bytes: int = 0


def see(
    repo: str, access: HubAccess, file: str | None = None, config: tuple[str, ...] = ()
) -> Sight:
    """What a Hub has of `repo`, from one request and the headers of the weight files.

    file: the path of the one weight file that is meant. config: KEY=VALUE of what it does not say.

    Raises `UsageError` where there is no such repository, `NetworkError` where the Hub cannot be
    asked; gated files are no error here.
    """
    http = ask(access)
    try:
        info = repo_info(http, repo)
    except UnreachableError as error:
        error.hint = "check the connection, and HF_ENDPOINT"  # no cached model will do
        raise
    said = Record(
        repo=repo,
        file=file,
        endpoint=plain(scrub(http.endpoint)),
        checked=now(),
        commit=info.sha,
        license=info.license,
        gated=info.gated,
    )
    try:
        with open_checkpoint(
            f"hf://{repo}" + ("" if file is None else f"/{file}"),
            revision=info.sha,
            config=values_of(config),
            cache_dir=access.cache_dir,
            token=access.token,
        ) as model:
            sight = look_at(model, said)
            return replace(sight, bytes_read=sight.bytes_read + http.traffic.bytes_read)
    except NetworkError as error:
        if not info.gated:
            raise
        return Sight(said, error)
    except SpectrakitError as error:
        return Sight(said, error)


def ask(access: HubAccess) -> HubHttp:
    """Requests to the Hub. Raises `NetworkError` where the environment forbids them."""
    if is_offline():
        message = "the Hub is to be asked, and the network is not to be used (offline)"
        raise NetworkError(message, hint="unset HF_HUB_OFFLINE and TRANSFORMERS_OFFLINE")
    return hub_http(access.token)


def see_bundled(entry: CatalogEntry) -> Sight:
    """What is in the files of a bundled entry. Raises what opening it does."""
    with open_checkpoint(entry.name) as model:
        return look_at(model, Record(repo=entry.name, endpoint="bundled", checked=now()))


def look_at(model: Model, record: Record) -> Sight:
    """`record` with what the headers of `model` say. Raises what listing its layers does."""
    inspection = inspect_model(model)
    checkpoint = model.checkpoint
    assert isinstance(checkpoint, Checkpoint)  # noqa: S101  (it was opened from files)
    seen = replace(
        record,
        headers=checkpoint.headers_fingerprint,
        architecture=model.architecture.name,
        families=families_of(model),
        layers=len(inspection.layers),
        kinds=tuple(dict.fromkeys(cost.layer.kind for cost in inspection.layers)),
        parameters=_parameters(inspection),
        weights_bytes=inspection.weights_bytes,
    )
    size = sum(file.size for file in checkpoint.files)
    return Sight(seen, None, checkpoint.bytes_read, size)


def _parameters(inspection: Inspection) -> int:
    """Their number, without the masks and lengths that older files hold as integers."""
    numbers = sum(n for dtype, n in inspection.dtypes.items() if dtype.startswith(("F", "BF", "C")))
    return numbers or inspection.parameters


def families_of(model: Model) -> tuple[str, ...]:
    """What the catalog may call its family: `model_type`, that of its text, the architecture."""
    config = model.checkpoint.config
    text = config.get("text_config")
    said = [config.get("model_type"), text.get("model_type") if isinstance(text, dict) else None]
    named = [each for each in said if isinstance(each, str) and plain(each) == each]
    return tuple(dict.fromkeys((*named, model.architecture.name)))


def now() -> str:
    """The time, as records have it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
