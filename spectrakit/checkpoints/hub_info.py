"""What the Hub says of a repository: its commit, files and licence, and whether it is gated."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from spectrakit.checkpoints.hub_cache import DEFAULT_REVISION
from spectrakit.checkpoints.hub_http import CONNECT_ATTEMPTS, HubHttp, refusal
from spectrakit.checkpoints.parts import plain_name
from spectrakit.checkpoints.stores import MAX_JSON_BYTES
from spectrakit.errors import NetworkError
from spectrakit.plain import plain

if TYPE_CHECKING:
    from collections.abc import Mapping

_LONGEST_LICENSE = 200


@dataclass(frozen=True)
class RepoInfo:
    """A repository at one commit.

    sha: the commit. sizes: bytes of its files, by path; None where the listing does not say, as
    some mirrors do not. gated: whether its conditions must be accepted first. license: as its card
    has it, the licence's own name where the card says "other". None where the Hub does not say.
    """

    sha: str
    sizes: Mapping[str, int | None]
    gated: bool | None = None
    license: str | None = None


def repo_info(http: HubHttp, repo_id: str, revision: str | None = None) -> RepoInfo:
    """What the Hub says of `repo_id` now, at a branch, tag or commit: one request.

    Raises `UsageError` for a repository or revision that does not exist, `NetworkError` otherwise.
    """
    at = "" if revision is None else f"/revision/{quote(revision, safe='')}"
    url = f"{http.endpoint}/api/models/{repo_id}{at}?blobs=true"

    def attempt() -> bytes:
        with http.get(url) as response:
            if response.status_code != 200:
                raise refusal(
                    response.status_code,
                    response.headers,
                    http,
                    repo_id,
                    revision or DEFAULT_REVISION,
                )
            body = bytearray()
            for chunk in response.iter_bytes():
                body += chunk
                if len(body) > MAX_JSON_BYTES:
                    raise NetworkError(f"the Hub's listing of {repo_id} does not end")
            return bytes(body)

    body = http.retrying(f"asking for {repo_id}", attempt, connect_attempts=CONNECT_ATTEMPTS)
    http.traffic.count(bytes_read=len(body))
    return _read(body, repo_id)


def _read(body: bytes, repo_id: str) -> RepoInfo:
    try:
        info: Any = json.loads(body)
        sha = info["sha"]
        siblings = [(file["rfilename"], _size_in(file)) for file in info["siblings"]]
        gated, card = info.get("gated"), info.get("cardData")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise NetworkError(
            f"the Hub's answer about {repo_id} is not model info", hint="check HF_ENDPOINT"
        ) from error
    if not isinstance(sha, str) or len(sha) != 40 or not set(sha) <= set("0123456789abcdef"):
        raise NetworkError(f"the Hub gives no commit sha for {repo_id}")
    sizes = {name: size for name, size in siblings if isinstance(name, str) and _is_path(name)}
    # False, or the way in which it is: "auto" or "manual".
    asks = bool(gated) if isinstance(gated, bool | str) else None
    return RepoInfo(sha, sizes, asks, _license(card if isinstance(card, dict) else {}))


def _size_in(file: Mapping[str, Any]) -> int | None:
    """The size that a listing says of a file, of its own or of what Git LFS keeps."""
    kept = file.get("lfs")
    sizes = (file.get("size"), kept.get("size") if isinstance(kept, dict) else None)
    return next((size for size in sizes if type(size) is int and size >= 0), None)


def file_size(http: HubHttp, url: str, repo_id: str, sha: str, path: str) -> int:
    """The size of the file behind `url`, from its headers: one request, or two.

    Raises `UsageError` and `NetworkError` as the Hub refuses, and where the server does not say.
    """

    def attempt() -> int | None:
        with http.get(url, method="HEAD") as head:
            size = _announced(head.status_code, head.headers)
        if size is not None:
            return size
        # An address that is signed for GET alone refuses HEAD.
        with http.get(url, {"range": "bytes=0-0"}) as one:
            if one.status_code not in (200, 206):
                raise refusal(one.status_code, one.headers, http, repo_id, sha, path)
            return _announced(one.status_code, one.headers)

    size = http.retrying(f"asking for the size of {path}", attempt)
    if size is None:
        raise NetworkError(
            f"the server says neither in its listing nor in its headers how large {path} of"
            f" {repo_id} is",
            hint=f"hf download {repo_id} {path}, and read that copy",
        )
    return size


def _announced(status: int, headers: Mapping[str, str]) -> int | None:
    """The size of a whole file, from the headers of an answer about it."""
    said = headers.get("x-linked-size", "")  # of what is redirected to, as the Hub says it
    if not said and status == 206:
        said = headers.get("content-range", "").rpartition("/")[2]
    if not said and status == 200:
        said = headers.get("content-length", "")
    return int(said) if re.fullmatch(r"\d{1,18}", said) else None


def _license(card: Mapping[str, Any]) -> str | None:
    said = card.get("license")
    if said == "other":
        said = card.get("license_name") or said
    if isinstance(said, list):
        said = ", ".join(each for each in said if isinstance(each, str))
    if not isinstance(said, str) or not said.strip() or len(said) > _LONGEST_LICENSE:
        return None
    return plain(said.strip())


def _is_path(path: str) -> bool:
    try:
        for part in path.split("/"):
            plain_name(part)
    except ValueError:
        return False
    return True
