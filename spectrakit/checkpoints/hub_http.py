"""HTTP to the Hub: who gets the token, what is tried again, and what an answer means.

The client is huggingface_hub's own (`get_session`), so proxies, certificates and a user's
`set_client_factory` hold here as well. Three things are done here and not left to its
`http_backoff`: the token goes to the endpoint's origin and nowhere else, however it redirects;
waits end at once when the work is given up (Ctrl-C, another range failed), where `time.sleep` in a
worker would hold the process for minutes; and signed addresses are never logged.
"""

from __future__ import annotations

import logging
import re
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, TypeVar
from urllib.parse import urljoin, urlsplit

from spectrakit.errors import NetworkError, SpectrakitError, UsageError
from spectrakit.wording import given

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import httpx2

    from spectrakit.checkpoints.byte_sources import Traffic

logger = logging.getLogger("spectrakit")
T = TypeVar("T")

ATTEMPTS = 6
#: A host that cannot be reached at all is not asked as often.
CONNECT_ATTEMPTS = 2
FIRST_WAIT_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 8.0
#: A wait of this length makes a user wonder.
NOTICED_SECONDS = 5
#: The Hub's rate limits are counted in windows of five minutes.
LONGEST_RATE_LIMIT_SECONDS = 330
_RETRY_STATUS = {408, 429, 500, 502, 503, 504}
_REDIRECTS = 5
_DEFAULT_PORTS = {"http": 80, "https": 443}
_BAD_CREDENTIALS = "Invalid credentials in Authorization header"


class Transient(Exception):  # noqa: N818  (a reason to try again, not yet an error)
    """An attempt failed in a way that another one may not. Never leaves this room."""

    def __init__(
        self, reason: str, *, wait: float | None = None, unreachable: bool = False
    ) -> None:
        super().__init__(reason)
        self.wait = wait
        self.unreachable = unreachable


class UnreachableError(NetworkError):
    """No answer from the Hub at all, as opposed to a refusal."""


def pause(given_up: threading.Event, seconds: float) -> None:
    """Wait `seconds`, or until the work is given up."""
    given_up.wait(seconds)


class HubHttp:
    """Requests to one Hub endpoint."""

    def __init__(self, endpoint: str, token: str | None, traffic: Traffic) -> None:
        """`token` is sent to the origin of `endpoint` only. Raises `UsageError` for bad ones."""
        self.endpoint = endpoint.rstrip("/")
        self.token = token
        self.traffic = traffic
        self._origin = _origin(self.endpoint)
        if self._origin[0] not in _DEFAULT_PORTS or not self._origin[1]:
            raise UsageError(f"HF_ENDPOINT is not an http(s) address: {endpoint}")

    @contextmanager
    def get(
        self,
        url: str,
        headers: Mapping[str, str] | None = None,
        *,
        method: Literal["GET", "HEAD"] = "GET",
    ) -> Iterator[httpx2.Response]:
        """One GET without retries, redirects followed; the body is not read yet.

        HEAD ends at the redirect that says how large the file behind it is.

        Raises `Transient` when another attempt may help. A body that breaks off raises it too.
        """
        import httpx2

        try:
            for _ in range(_REDIRECTS):
                with self._send(method, url, headers or {}) as response:
                    if response.status_code in _RETRY_STATUS:
                        raise _transient(response)
                    told = method == "HEAD" and "x-linked-size" in response.headers
                    if told or not response.has_redirect_location:
                        yield response
                        return
                    response.read()  # it is empty; unread, it would cost the connection
                    url = self._redirect(url, response.headers["location"])
        except httpx2.TransportError as error:
            unreachable = isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout)
            raise Transient(type(error).__name__, unreachable=unreachable) from error
        except httpx2.InvalidURL as error:
            raise NetworkError(f"{self.endpoint} led to an address that is none") from error
        raise NetworkError(f"{urlsplit(url).hostname} redirects more than {_REDIRECTS} times")

    def retrying(
        self,
        what: str,
        attempt: Callable[[], T],
        given_up: threading.Event | None = None,
        *,
        connect_attempts: int = ATTEMPTS,
    ) -> T:
        """What `attempt` returns, tried again with back-off while it raises `Transient`.

        Raises `NetworkError` when it still fails, `UnreachableError` when nobody answered.
        """
        given_up = given_up or threading.Event()
        wait = FIRST_WAIT_SECONDS
        for tried in range(1, ATTEMPTS + 1):
            try:
                return attempt()
            except Transient as trouble:
                last = trouble
            too_long = (last.wait or 0) > LONGEST_RATE_LIMIT_SECONDS
            attempts = connect_attempts if last.unreachable else ATTEMPTS
            if tried >= attempts or too_long or given_up.is_set():
                break
            seconds = wait if last.wait is None else last.wait
            level = logging.WARNING if seconds >= NOTICED_SECONDS else logging.INFO
            logger.log(level, "%s: %s; trying again in %.0f s", what, last, seconds)
            pause(given_up, seconds)
            wait = min(2 * wait, LONGEST_WAIT_SECONDS)
        raise self._exhausted(what, last, tried)

    @contextmanager
    def _send(self, method: str, url: str, headers: Mapping[str, str]) -> Iterator[httpx2.Response]:
        from huggingface_hub import constants, get_session
        from huggingface_hub.errors import OfflineModeIsEnabled

        sent = {"user-agent": "spectrakit", "accept-encoding": "identity", **headers}
        if self.token is not None and _origin(url) == self._origin:
            sent["authorization"] = f"Bearer {self.token}"
        self.traffic.count(requests=1)
        try:
            with get_session().stream(
                method,
                url,
                headers=sent,
                follow_redirects=False,
                timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT,
            ) as response:
                yield response
        except OfflineModeIsEnabled as error:
            raise NetworkError(
                "huggingface_hub was loaded with HF_HUB_OFFLINE set", hint="unset HF_HUB_OFFLINE"
            ) from error

    def _redirect(self, url: str, location: str) -> str:
        target = urljoin(url, location)
        scheme, host, _ = _origin(target)
        if scheme not in _DEFAULT_PORTS or not host:
            raise NetworkError(f"{urlsplit(url).hostname} redirects to something that is not http")
        if scheme == "http" and _origin(url)[0] == "https":
            raise NetworkError(f"{urlsplit(url).hostname} redirects from https to plain http")
        return target

    def _exhausted(self, what: str, last: Transient, tried: int) -> NetworkError:
        if last.unreachable:
            return UnreachableError(
                f"{what}: cannot reach {self.endpoint} ({last})",
                hint=f"check the connection, or use a cached model with {given(offline=True)}",
            )
        times = "once" if tried == 1 else f"{tried} times"
        return NetworkError(
            f"{what}: {last}, tried {times}", hint="run the same command again later"
        )


def refusal(
    status: int,
    headers: Mapping[str, str],
    http: HubHttp,
    repo_id: str,
    revision: str,
    file: str = "",
) -> SpectrakitError:
    """The error that an answer of the Hub (status and headers) stands for."""
    code, message = headers.get("x-error-code", ""), headers.get("x-error-message", "")
    if code == "GatedRepo":
        who = "this token's account has no access" if http.token else "it needs a token"
        return NetworkError(
            f"{repo_id} is a gated repository: {who}",
            hint=f"accept its conditions at {http.endpoint}/{repo_id}, then hf auth login",
        )
    if code == "RevisionNotFound":
        return UsageError(f"{repo_id} has no revision {revision!r}")
    if code == "EntryNotFound":
        return UsageError(f"{repo_id} has no file {file!r} at revision {revision!r}")
    if status == 401 and message == _BAD_CREDENTIALS:
        return NetworkError("the Hub does not accept the token", hint="hf auth login")
    if code == "RepoNotFound" or status == 401 or (status == 404 and not file):
        return UsageError(
            f"there is no model {repo_id} on the Hub, or it is private",
            hint="check the spelling; for a private model, hf auth login",
        )
    said = f" ({message})" if re.fullmatch(r"[ -~]{1,200}", message) else ""
    return NetworkError(f"the Hub answered {status}{said} for {repo_id} {file}".rstrip())


def clean_token(token: str | None) -> str | None:
    """`token` without white space at its ends; a header must not hold anything unprintable.

    Raises `UsageError`, which does not show it.
    """
    token = (token or "").strip()
    if not re.fullmatch(r"[!-~]*", token):
        raise UsageError("the access token has characters that no token has", hint="hf auth login")
    return token or None


def _transient(response: httpx2.Response) -> Transient:
    from huggingface_hub.utils import parse_ratelimit_headers  # type: ignore[attr-defined]

    status = response.status_code
    retry_after = response.headers.get("retry-after", "")
    if status == 429:
        limit = parse_ratelimit_headers(response.headers)
        if limit is not None and limit.remaining == 0:
            # The header counts whole seconds.
            return Transient(
                f"rate limited for {limit.reset_in_seconds} s", wait=limit.reset_in_seconds + 1
            )
    wait = int(retry_after) if re.fullmatch(r"\d{1,6}", retry_after) else None
    reason = "rate limited" if status == 429 else f"the server answered {status}"
    return Transient(reason, wait=wait)


def _origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port: what a token is bound to."""
    try:
        parts = urlsplit(url)
        port = parts.port or _DEFAULT_PORTS.get(parts.scheme, 0)
    except ValueError:
        return ("", "", 0)
    return (parts.scheme, (parts.hostname or "").lower(), port)
