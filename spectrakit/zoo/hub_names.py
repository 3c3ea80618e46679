"""What of the Hub an address means: `hf://...`, or the page of it in a browser."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal
from urllib.parse import unquote, urlsplit

from spectrakit.catalog.repo_ids import is_repo_id
from spectrakit.checkpoints.hub import endpoint
from spectrakit.checkpoints.parts import plain_path
from spectrakit.errors import UsageError

SCHEME = "hf://"
WILDCARDS = "*?["
_HOSTS = {"huggingface.co", "www.huggingface.co", "hf.co"}
_COLLECTIONS = "collections"
#: First words of pages that are not of an author.
_OTHER_PAGES = {"blog", "buckets", "datasets", "docs", "learn", "models", "organizations", "papers",
                "spaces", "tasks"}  # fmt: skip
_HINT = "hf://AUTHOR, hf://AUTHOR/MODEL, 'hf://AUTHOR/*mamba*' or hf://collections/OWNER/SLUG"


@dataclass(frozen=True)
class HubName:
    """A model of the Hub, models of an author, or a collection.

    name: a repository, an author, or OWNER/SLUG. pattern: of the names of an author's models.
    revision: a branch, tag or commit of the model, or of each of them. path: of a weight file or
    folder in the repository.
    """

    kind: Literal["model", "author", "collection"]
    name: str
    pattern: str | None = None
    revision: str | None = None
    path: str | None = None


def is_address(text: str) -> bool:
    """Whether `text` is meant for the Hub alone."""
    return text.lower().startswith((SCHEME, "https://", "http://"))


def hub_name(text: str) -> HubName:
    """What an address means. Raises UsageError for one that means no models."""
    is_page = not text.lower().startswith(SCHEME)
    path, _, revision = (_path_of_page(text) if is_page else text[len(SCHEME) :]).partition("@")
    parts = path.rstrip("/").split("/")
    if is_page and parts[2:3] == ["tree"] and len(parts) > 3:
        parts, revision = parts[:2], "/".join(parts[3:])
    if parts[0] == _COLLECTIONS:
        if len(parts) != 3 or revision or not all(map(_is_plain, parts)):
            raise _no_name(text, "not a collection", hint="hf://collections/OWNER/SLUG")
        return HubName("collection", "/".join(parts[1:]))
    if is_page and parts[0] in _OTHER_PAGES:
        raise _no_name(text, "not the page of a model, an author or a collection")
    if is_page and parts[2:3] == ["blob"] and len(parts) > 4:
        return _inside(text, _author_or_model(text, parts[:2], parts[3]), parts[4:])
    if not is_page and len(parts) > 2:
        return _inside(text, _author_or_model(text, parts[:2], revision or None), parts[2:])
    return _author_or_model(text, parts, revision or None)


def _author_or_model(text: str, parts: list[str], revision: str | None) -> HubName:
    author, model = (*parts, None)[:2]
    if len(parts) > 2 or author is None or not is_repo_id(author):
        raise _no_name(text, "not a name of the Hub")
    if model is None:
        return HubName("author", author, None, revision)
    if any(wildcard in model for wildcard in WILDCARDS):
        return HubName("author", author, model, revision)
    if not is_repo_id(f"{author}/{model}"):
        raise _no_name(text, "not a repository")
    return HubName("model", f"{author}/{model}", None, revision)


def _inside(text: str, found: HubName, parts: list[str]) -> HubName:
    """What is at the path `parts` of the repository."""
    try:
        return replace(found, path=plain_path("/".join(parts)))
    except ValueError as error:
        raise _no_name(text, f"not a path in a repository: {error}") from error


def _path_of_page(text: str) -> str:
    try:
        parts = urlsplit(text)
        host = (parts.hostname or "").lower()
    except ValueError as error:
        raise _no_name(text, "not an address") from error
    if host not in _HOSTS and host != urlsplit(endpoint()).hostname:
        raise _no_name(text, "not an address of the Hub")
    return unquote(parts.path).removeprefix("/")


def _is_plain(text: str) -> bool:
    """Whether this can be a word of an address as it is; a slug is words joined by "-"."""
    return re.fullmatch(r"[A-Za-z0-9][\w.-]{0,199}", text, re.ASCII) is not None


def _no_name(text: str, what: str, hint: str = _HINT) -> UsageError:
    return UsageError(f"{text[:200]!r} is {what}", hint=hint)
