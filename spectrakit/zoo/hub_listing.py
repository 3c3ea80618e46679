"""Which models an author or a collection has, asked of the Hub with bounds on its answers."""

from __future__ import annotations

import fnmatch
import json
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from spectrakit.catalog.repo_ids import is_repo_id
from spectrakit.checkpoints.hub_cache import is_offline
from spectrakit.errors import NetworkError, SpectrakitError, UsageError
from spectrakit.wording import did_you_mean, given
from spectrakit.zoo.candidates import MOST_ENTRIES

if TYPE_CHECKING:
    import httpx2

    from spectrakit.checkpoints.access import HubAccess
    from spectrakit.checkpoints.hub_http import HubHttp

logger = logging.getLogger("spectrakit")

MOST_PAGES = 100
#: A page of 500 models has about half a MB.
MOST_PAGE_BYTES = 16_000_000
_PAGE = 500


def models_of(author: str, pattern: str | None, access: HubAccess) -> list[str]:
    """The repositories of an author's models, by name; those that match `pattern`, in any case.

    Raises UsageError where there are none, NetworkError where the Hub cannot be asked, refuses, or
    its answer does not end.
    """
    what = f"the models of {author}"
    http = _reach(access, what)
    found: set[str] = set()
    address: str | None = f"/api/models?author={quote(author, safe='')}&limit={_PAGE}"
    pages = 0
    while address is not None:
        if pages == MOST_PAGES or len(found) > MOST_ENTRIES:
            message = f"the Hub lists too many models of {author}"
            raise NetworkError(message, hint="name the models that you want in a list")
        page, address = _asked(http, address, what, f"there is no author {author} on the Hub")
        found |= {name for name in _names(page, what) if _is_of(name, author)}
        pages += 1
    if not found:
        hint = f"check the spelling; for a model of this name: {author}@main"
        raise UsageError(f"there are no models of {author} on the Hub", hint=hint)
    chosen = [name for name in found if pattern is None or _matches(name, pattern)]
    if not chosen:
        message = f"no model of {author} matches {pattern!r}"
        hint = did_you_mean(f"{author}/{pattern}", found) or f"all of them: hf://{author}"
        raise UsageError(message, hint=hint)
    return sorted(chosen, key=str.lower)


def models_in_collection(name: str, access: HubAccess) -> list[str]:
    """The repositories of the models in the collection OWNER/SLUG, in its order.

    What else is in it is counted in a note. Raises UsageError where there is no such collection or
    no model in it, NetworkError as `models_of` does.
    """
    what = f"the collection {name}"
    missing = f"there is no collection {name} on the Hub, or it is private"
    page, _ = _asked(_reach(access, what), f"/api/collections/{quote(name)}", what, missing)
    items = page.get("items") if isinstance(page, Mapping) else None
    if not isinstance(items, list):
        raise _no_listing(what)
    models = [_model_of(item) for item in items]
    found = list(dict.fromkeys(name for name in models if name is not None))
    if not found:
        raise UsageError(f"there are no models in {what}")
    if others := models.count(None):
        items_left = "1 item" if others == 1 else f"{others:,} items"
        logger.info("%s of %s left out: not models", items_left, what)
    return found


def _reach(access: HubAccess, what: str) -> HubHttp:
    from spectrakit.checkpoints.hub import hub_http

    if is_offline() if access.offline is None else access.offline:
        raise NetworkError(
            f"the Hub alone lists {what}, and the network is not to be used (offline)",
            hint=f"without {given(offline=True)} and HF_HUB_OFFLINE, or name the models in a list",
        )
    return hub_http(access.token)


def _asked(http: HubHttp, address: str, what: str, missing: str) -> tuple[Any, str | None]:
    """One page, and the address of the next one; missing: what a refusal means."""
    from spectrakit.checkpoints.hub_http import CONNECT_ATTEMPTS, UnreachableError

    def attempt() -> tuple[bytes, str | None]:
        with http.get(f"{http.endpoint}{address}") as response:
            if response.status_code != 200:
                raise _refusal(response, http, what, missing)
            body = bytearray()
            for chunk in response.iter_bytes():
                body += chunk
                if len(body) > MOST_PAGE_BYTES:
                    raise NetworkError(f"the Hub's answer about {what} does not end")
            return bytes(body), _next(response)

    try:
        body, following = http.retrying(
            f"asking for {what}", attempt, connect_attempts=CONNECT_ATTEMPTS
        )
    except UnreachableError as error:
        error.hint = "check the connection, or name the models in a list"
        raise
    http.traffic.count(bytes_read=len(body))
    try:
        return json.loads(body), following
    except (ValueError, RecursionError) as error:
        raise _no_listing(what) from error


def _next(response: httpx2.Response) -> str | None:
    """The next page, of this endpoint whatever host the link names: a mirror may pass it on."""
    link = response.links.get("next", {}).get("url")
    if not link:
        return None
    try:
        return f"/api/models?{urlsplit(link).query}"
    except ValueError:
        return None


def _refusal(response: httpx2.Response, http: HubHttp, what: str, missing: str) -> SpectrakitError:
    from spectrakit.checkpoints.hub_http import refusal

    said = refusal(response.status_code, response.headers, http, what, "main")
    if not isinstance(said, UsageError):
        return said
    return UsageError(missing, hint="check the spelling; for what is private, hf auth login")


def _no_listing(what: str) -> NetworkError:
    return NetworkError(f"the Hub's answer about {what} is no list", hint="check HF_ENDPOINT")


def _names(page: object, what: str) -> list[str]:
    if not isinstance(page, list) or not all(isinstance(each, Mapping) for each in page):
        raise _no_listing(what)
    return [each["id"] for each in page if isinstance(each.get("id"), str)]


def _is_of(name: str, author: str) -> bool:
    return is_repo_id(name) and name.lower().startswith(f"{author.lower()}/")


def _matches(name: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(name.partition("/")[2].lower(), pattern.lower())


def _model_of(item: object) -> str | None:
    if not isinstance(item, Mapping) or item.get("type") != "model":
        return None
    name = item.get("id")
    return name if isinstance(name, str) and is_repo_id(name) else None
