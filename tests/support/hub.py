"""A small server that speaks the Hub's endpoints, with faults on demand.

    with HubServer() as hub:
        hub.add_repo("state-spaces/mamba-130m", {"config.json": b"{}", "pytorch_model.bin": path})
        ...                                         # HF_ENDPOINT = hub.url

Serves model info, tree, HEAD and ranged GET on resolve, an author's models page by page, and
collections. With `cdn=True` weight files are
redirected to signed addresses of a second server under another host name, as the Hub does. Every
request and every body byte is counted. It listens on 127.0.0.1 and stops by itself.
"""

from __future__ import annotations

import hashlib
import json
import re
import socket
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

LIFETIME_SECONDS = 1800
_LARGE = (".safetensors", ".bin", ".pt", ".pth", ".gguf")


@dataclass
class Repo:
    sha: str
    files: dict[str, bytes | Path]
    revisions: set[str]
    gated: bool = False
    private: bool = False
    card: dict = field(default_factory=dict)


@dataclass
class Fault:
    """What goes wrong with the next `times` requests whose path contains `match`.

    `status` answers with that status and `headers`; otherwise `kind` is "drop" (the connection
    ends in the middle of the body), "short" (a body and a length that are too short),
    "ignore_range" (200 and the whole file) or "wrong_range" (the range after the one asked for).
    """

    match: str
    times: int
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    kind: str = ""


@dataclass(frozen=True)
class Seen:
    method: str
    path: str
    host: str
    range: str | None
    authorization: str | None


class HubServer:
    """A Hub of a few repositories. Use it with `with`."""

    def __init__(self, *, cdn: bool = False) -> None:
        self.repos: dict[str, Repo] = {}
        self.collections: dict[str, list[tuple[str, str]]] = {}
        self.answers: dict[str, tuple[bytes, dict[str, str]]] = {}  # by path, whatever is asked
        self.says_sizes = True  # in listings; some mirrors leave them out
        self.linked_size = True  # in redirects, as the Hub says it
        self.page_size = 500  # of an author's models, unless fewer are asked for
        self.tokens: set[str] = set()
        self.faults: list[Fault] = []
        self.seen: list[Seen] = []
        self.bytes_sent = 0
        self.signature = 0  # signed addresses carry it; those of another number have expired
        self.lock = threading.Lock()
        self._hub = _Server(self)
        self._cdn = _Server(self) if cdn else None
        self._timer = threading.Timer(LIFETIME_SECONDS, self.stop)
        self._timer.daemon = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._hub.server_port}"

    @property
    def cdn_url(self) -> str | None:
        return None if self._cdn is None else f"http://localhost:{self._cdn.server_port}"

    @property
    def requests(self) -> int:
        return len(self.seen)

    def add_repo(
        self,
        repo_id: str,
        files: dict[str, bytes | Path],
        *,
        revisions: tuple[str, ...] = ("main",),
        gated: bool = False,
        private: bool = False,
        card: dict | None = None,
    ) -> str:
        """Serve `files` as `repo_id`; the commit sha is made of their names and sizes.

        card: what the repository's README says at its top, `{"license": "mit"}`.
        """
        described = [f"{name}:{_size(content)}" for name, content in sorted(files.items())]
        sha = hashlib.sha1("\n".join([repo_id, *described]).encode()).hexdigest()
        self.repos[repo_id] = Repo(sha, dict(files), {*revisions, sha}, gated, private, card or {})
        return sha

    def add_collection(self, slug: str, items: list[tuple[str, str]]) -> None:
        """Serve a collection OWNER/TITLE-ID of items: their type ("model") and their id."""
        self.collections[slug] = list(items)

    def fail(self, match: str, times: int, **what) -> None:
        self.faults.append(Fault(match, times, **what))

    def expire_links(self) -> None:
        self.signature += 1

    def forget(self) -> None:
        """Set the counters to zero."""
        with self.lock:
            self.seen.clear()
            self.bytes_sent = 0

    def __enter__(self) -> HubServer:
        for server in self._servers():
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        self._timer.start()
        return self

    def __exit__(self, *_) -> None:
        self.stop()

    def stop(self) -> None:
        self._timer.cancel()
        for server in self._servers():
            server.shutdown()
            server.server_close()
            server.close_connections()

    def _servers(self) -> list[_Server]:
        return [server for server in (self._hub, self._cdn) if server is not None]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, hub: HubServer) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.hub = hub
        self._connections: set[socket.socket] = set()

    def get_request(self):
        connection, address = super().get_request()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connections.add(connection)
        return connection, address

    def close_connections(self) -> None:
        for connection in self._connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def handle_error(self, request, client_address) -> None:
        """A client that went away is no event."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60
    server: _Server

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, *_) -> None:
        """Quiet."""

    def _answer(self) -> None:
        self.hub = self.server.hub
        address = urlsplit(self.path)
        self.query = parse_qs(address.query)
        path = unquote(address.path)
        if path.startswith("/api/agent-harnesses"):  # huggingface_hub's own, once a day
            self._status(404, {})
            return
        with self.hub.lock:
            header = self.headers.get
            seen = Seen(
                self.command,
                self.path,
                header("host", ""),
                header("range"),
                header("authorization"),
            )
            self.hub.seen.append(seen)
            self.fault = self._next_fault(path)
        if self.fault is not None and self.fault.status:
            self._status(self.fault.status, self.fault.headers)
        elif path in self.hub.answers:
            body, headers = self.hub.answers[path]
            self._head(200, headers, len(body))
            self._body(body, 0, len(body))
        elif match := re.fullmatch(r"/cdn/(.+?)/([0-9a-f]{40})/(.+)", path):
            self._cdn(*match.groups())
        elif path == "/api/models":
            self._models()
        elif match := re.fullmatch(r"/api/collections/([^/]+/[^/]+)", path):
            self._collection(match[1])
        elif match := re.fullmatch(r"/api/models/(.+?)(?:/(revision|tree)/([^?]+))?", path):
            self._api(*match.groups())
        elif match := re.fullmatch(r"/(.+?)/resolve/([^/]+)/(.+)", path):
            self._resolve(*match.groups())
        else:
            self._status(404, {})

    def _next_fault(self, path: str) -> Fault | None:
        for fault in self.hub.faults:
            if fault.times > 0 and fault.match in path:
                fault.times -= 1
                return fault
        return None

    # endpoints

    def _api(self, repo_id: str, kind: str | None, revision: str | None) -> None:
        repo = self._repo(repo_id, revision or "main")
        if repo is None:
            return
        if kind == "tree":
            listing = [
                {"type": "file", "path": n, "size": _size(c), "oid": _etag(repo, n)}
                for n, c in repo.files.items()
            ]
            self._json(listing)
            return
        siblings = [{"rfilename": n, "size": _size(c)} for n, c in repo.files.items()]
        if "blobs" not in self.query or not self.hub.says_sizes:
            siblings = [{"rfilename": s["rfilename"]} for s in siblings]
        info = {"id": repo_id, "sha": repo.sha, "siblings": siblings}
        # As the Hub says it: false, or how access is granted.
        self._json({**info, "gated": repo.gated and "auto", "cardData": repo.card})

    def _models(self) -> None:
        """An author's models, and in a header the address of the next page."""
        author, start = self.query["author"][0], int(self.query.get("cursor", ["0"])[0])
        size = min(self.hub.page_size, int(self.query.get("limit", ["500"])[0]))
        if self._is_stranger():
            return
        repos = {name: r for name, r in self.hub.repos.items() if name.startswith(f"{author}/")}
        listed = [name for name, r in repos.items() if not r.private or self._token() is not None]
        more = {}
        if start + size < len(listed):
            following = f"{self.hub.url}/api/models?author={author}&limit={size}"
            more = {"Link": f'<{following}&cursor={start + size}>; rel="next"'}
        self._json([{"id": name} for name in listed[start : start + size]], more)

    def _collection(self, slug: str) -> None:
        if self._is_stranger():
            return
        if slug not in self.hub.collections:
            self._status(404, {})
            return
        items = [{"type": kind, "id": name} for kind, name in self.hub.collections[slug]]
        self._json({"slug": slug, "title": "A collection", "items": items})

    def _is_stranger(self) -> bool:
        """Whether the token is none of the Hub's; it is told so."""
        token = self._token()
        if token is None or token in self.hub.tokens:
            return False
        self._status(401, {"X-Error-Message": "Invalid credentials in Authorization header"})
        return True

    def _resolve(self, repo_id: str, revision: str, name: str) -> None:
        repo = self._repo(repo_id, revision)
        if repo is None:
            return
        if repo.gated and self._token() not in self.hub.tokens:
            self._status(403 if self._token() else 401, {"X-Error-Code": "GatedRepo"})
            return
        commit = {"X-Repo-Commit": repo.sha}
        if name not in repo.files:
            self._status(404, {"X-Error-Code": "EntryNotFound", **commit})
            return
        size, etag = _size(repo.files[name]), _etag(repo, name)
        if self.hub.cdn_url is not None and name.endswith(_LARGE):
            signed = f"{self.hub.cdn_url}/cdn/{repo_id}/{repo.sha}/{name}?sig={self.hub.signature}"
            linked = {"X-Linked-Size": str(size), "X-Linked-Etag": f'"{etag}"'}
            linked = linked if self.hub.linked_size else {}
            self._status(302, {"Location": signed, **linked, **commit})
            return
        self._file(repo.files[name], {"ETag": f'"{etag}"', **commit})

    def _cdn(self, repo_id: str, sha: str, name: str) -> None:
        signed_for_get_alone = not self.hub.linked_size and self.command == "HEAD"
        if signed_for_get_alone or self.query.get("sig") != [str(self.hub.signature)]:
            self._status(403, {})
            return
        repo = self.hub.repos[repo_id]
        self._file(repo.files[name], {"ETag": f'"{_etag(repo, name)}"'})

    def _repo(self, repo_id: str, revision: str) -> Repo | None:
        repo, token = self.hub.repos.get(repo_id), self._token()
        if self._is_stranger():
            return None
        if repo is None or (repo.private and token is None):
            self._status(404 if token else 401, {"X-Error-Code": "RepoNotFound"})
        elif revision not in repo.revisions:
            self._status(404, {"X-Error-Code": "RevisionNotFound"})
        else:
            return repo
        return None

    def _token(self) -> str | None:
        header = self.headers.get("authorization")
        return None if header is None else header.removeprefix("Bearer ")

    # answers

    def _json(self, value: object, headers: dict[str, str] | None = None) -> None:
        body = json.dumps(value).encode()
        self._head(200, {"Content-Type": "application/json", **(headers or {})}, len(body))
        self._body(body, 0, len(body))

    def _status(self, status: int, headers: dict[str, str]) -> None:
        self._head(status, headers, 0)

    def _file(self, content: bytes | Path, headers: dict[str, str]) -> None:
        size = _size(content)
        kind = "" if self.fault is None else self.fault.kind
        start, stop, status = 0, size, 200
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("range") or "")
        if found is not None and kind != "ignore_range":
            start, stop = int(found[1]), min(size, int(found[2] or size - 1) + 1)
            if start >= size:
                self._status(416, {"Content-Range": f"bytes */{size}"})
                return
            status = 206
            shift = stop - start if kind == "wrong_range" else 0
            headers["Content-Range"] = f"bytes {start + shift}-{stop - 1 + shift}/{size}"
        headers["Accept-Ranges"] = "bytes"
        if kind == "short":
            stop = start + (stop - start) // 2
        self._head(status, headers, stop - start)
        if kind == "drop":
            self._body(content, start, start + (stop - start) // 2)
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        self._body(content, start, stop)

    def _head(self, status: int, headers: dict[str, str], length: int) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(length)}.items():
            self.send_header(name, value)
        self.end_headers()

    def _body(self, content: bytes | Path, start: int, stop: int) -> None:
        if self.command == "HEAD" or stop <= start:
            return
        with self.hub.lock:  # before sending: the client may look as soon as it has them
            self.hub.bytes_sent += stop - start
        self.wfile.flush()
        if isinstance(content, Path):
            with content.open("rb") as file:
                self.connection.sendfile(file, start, stop - start)
        else:
            self.connection.sendall(memoryview(content)[start:stop])


def _size(content: bytes | Path) -> int:
    return content.stat().st_size if isinstance(content, Path) else len(content)


def _etag(repo: Repo, name: str) -> str:
    return hashlib.sha256(f"{repo.sha}/{name}".encode()).hexdigest()
