"""A Hub that breaks off, limits, lies or is not there: recovery, or one clear error."""

from __future__ import annotations

import socket
import threading

import pytest
import torch

from spectrakit.checkpoints import hub_http, open_checkpoint
from spectrakit.errors import (
    NetworkError,
    UsageError,
)
from tests.support import shapes

REPO = "org/model"
WEIGHTS = "model.safetensors"


def read_steps(checkpoint) -> dict:
    return checkpoint.read(shapes.step_tensors(checkpoint.tensors))


def assert_right(read, folder):
    with open_checkpoint(str(folder)) as local:
        expected = local.read(read)
    assert read
    assert all(torch.equal(read[name], expected[name]) for name in read)


# --- trouble on the way -------------------------------------------------------------------------


@pytest.mark.parametrize("match", ["/api/", "config.json", WEIGHTS])
def test_rate_limits_are_waited_for_as_long_as_the_hub_says(hub, files, folder, waits, match):
    hub.add_repo(REPO, files)
    hub.fail(match, 2, status=429, headers={"RateLimit": '"api";r=0;t=7'})
    with open_checkpoint(REPO) as checkpoint:
        assert_right(read_steps(checkpoint), folder)
    assert 8 in waits  # seven seconds, and one for rounding


def test_a_rate_limit_without_an_end_is_given_up(hub, files, waits):
    hub.add_repo(REPO, files)
    hub.fail("/api/", 99, status=429, headers={"RateLimit": '"api";r=0;t=60'})
    with pytest.raises(NetworkError, match="rate limited for 60 s, tried 6 times"):
        open_checkpoint(REPO)
    assert waits == [61] * (hub_http.ATTEMPTS - 1)


def test_a_wait_of_hours_is_not_begun(hub, files, waits):
    hub.add_repo(REPO, files)
    hub.fail("/api/", 99, status=429, headers={"RateLimit": '"api";r=0;t=7200'})
    with pytest.raises(NetworkError, match="rate limited for 7200 s, tried once"):
        open_checkpoint(REPO)
    assert waits == []


def test_retry_after_is_honoured(hub, files, folder, waits):
    hub.add_repo(REPO, files)
    hub.fail("/api/", 1, status=503, headers={"Retry-After": "3"})
    open_checkpoint(REPO).close()
    assert waits[0] == 3


def test_waits_grow(hub, files, waits):
    hub.add_repo(REPO, files)
    hub.fail("/api/", 99, status=500)
    with pytest.raises(NetworkError, match="the server answered 500, tried 6 times"):
        open_checkpoint(REPO)
    assert waits == [1, 2, 4, 8, 8]


@pytest.mark.parametrize("kind", ["drop", "short"])
@pytest.mark.parametrize("server", ["hub", "hub_with_cdn"])
def test_a_body_that_breaks_off_goes_on_where_it_ended(server, files, folder, kind, request):
    hub = request.getfixturevalue(server)
    hub.add_repo(REPO, files)
    with open_checkpoint(REPO) as checkpoint:
        names = shapes.step_tensors(checkpoint.tensors)
        hub.forget()
        hub.fail(WEIGHTS, 3, kind=kind)
        assert_right(checkpoint.read(names), folder)
        assert hub.bytes_sent == checkpoint.cost(names)  # nothing was sent twice


def test_a_body_that_always_breaks_off_is_an_error(hub, files, waits):
    hub.add_repo(REPO, files)
    with open_checkpoint(REPO) as checkpoint:
        hub.fail(WEIGHTS, 10_000, kind="drop")
        with pytest.raises(NetworkError, match=r"reading org/model/model\.safetensors: ") as caught:
            read_steps(checkpoint)
    assert caught.value.exit_code == 6
    assert caught.value.hint


def test_the_first_range_that_fails_ends_the_others(hub, files, monkeypatch):
    """One is refused, the others wait for a rate limit: they must not be waited for."""
    given_up = []
    monkeypatch.setattr(hub_http, "pause", lambda event, _: given_up.append(event.wait(20)))
    hub.add_repo(REPO, files)
    with open_checkpoint(REPO) as checkpoint:
        hub.fail(WEIGHTS, 1, status=418)
        hub.fail(WEIGHTS, 99, status=500)
        with pytest.raises(NetworkError, match="418"):
            read_steps(checkpoint)
    assert all(given_up)


def test_a_server_that_ignores_ranges_is_not_read(hub, files):
    hub.add_repo(REPO, files)
    with open_checkpoint(REPO) as checkpoint:
        hub.forget()
        hub.fail(WEIGHTS, 99, kind="ignore_range")
        with pytest.raises(NetworkError, match="ignores byte ranges") as caught:
            read_steps(checkpoint)
    assert "full_download=True" in caught.value.hint
    assert checkpoint.bytes_read < 300_000


def test_a_server_that_sends_another_range_is_not_believed(hub, files):
    hub.add_repo(REPO, files)
    hub.fail(WEIGHTS, 99, kind="wrong_range")
    with pytest.raises(NetworkError, match="another range than was asked for"):
        open_checkpoint(REPO)


def test_a_file_of_another_size_than_listed(hub, files, tmp_path):
    hub.add_repo(REPO, dict(files))
    with open_checkpoint(REPO) as checkpoint:
        grown = tmp_path / WEIGHTS
        grown.write_bytes(files[WEIGHTS].read_bytes() + b"more")
        hub.repos[REPO].files[WEIGHTS] = grown
        with pytest.raises(NetworkError, match="the Hub's listing says"):
            read_steps(checkpoint)


def test_signed_addresses_that_expire_are_asked_for_again(hub_with_cdn, files, folder):
    hub = hub_with_cdn
    hub.add_repo(REPO, files)
    with open_checkpoint(REPO) as checkpoint:
        hub.expire_links()
        assert_right(read_steps(checkpoint), folder)


def test_signed_addresses_that_never_work_are_an_error(hub_with_cdn, files):
    hub = hub_with_cdn
    hub.add_repo(REPO, files)
    hub.fail("/cdn/", 999, status=403)
    with pytest.raises(NetworkError, match="answered 403"):
        open_checkpoint(REPO)


@pytest.mark.parametrize(
    ("location", "said"),
    [
        ("ftp://elsewhere/x", "not http"),
        ("file:///etc/passwd", "not http"),
        ("http://", "redirects more than"),
        ("/org/model/resolve/main/model.safetensors", "redirects more than"),
    ],
)
def test_redirects_that_lead_nowhere(hub, files, location, said):
    hub.add_repo(REPO, files)
    hub.fail(WEIGHTS, 999, status=302, headers={"Location": location})
    with pytest.raises(NetworkError, match=said):
        open_checkpoint(REPO)


# --- nobody there -------------------------------------------------------------------------------


def test_no_network_and_nothing_cached(hub, monkeypatch, waits):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(NetworkError, match=r"cannot reach http://127\.0\.0\.1:9") as caught:
        open_checkpoint(REPO)
    assert "offline=True" in caught.value.hint
    assert waits == [1]  # a host that is not there is asked twice, not six times


@pytest.mark.parametrize("address", ["no-scheme:80", "ftp://hub", "http://", "http://x:port"])
def test_an_endpoint_that_is_no_address(monkeypatch, address):
    monkeypatch.setenv("HF_ENDPOINT", address)
    with pytest.raises(UsageError, match="HF_ENDPOINT"):
        open_checkpoint(REPO)


@pytest.mark.parametrize("answer", [b"<html>", b"[]", b"{}", b'{"sha": 3, "siblings": []}'])
def test_an_endpoint_that_is_no_hub(hub, monkeypatch, answer):
    head = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(answer)
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=_answer_once, args=(server, head + answer), daemon=True).start()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        with pytest.raises(NetworkError, match=r"not model info|no commit sha"):
            open_checkpoint(REPO)


def _answer_once(server, answer):
    connection, _ = server.accept()
    with connection:
        connection.recv(4096)
        connection.sendall(answer)
