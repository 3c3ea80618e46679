"""A Hub that refuses: names that are not there, who may read, where the token goes, bad files."""

from __future__ import annotations

import pytest

from spectrakit.checkpoints import open_checkpoint
from spectrakit.errors import (
    MalformedError,
    NetworkError,
    SpectrakitError,
    UnsupportedError,
    UsageError,
)
from tests.checkpoints.test_hub_faults import REPO, WEIGHTS, assert_right, read_steps

# --- names that are not there -------------------------------------------------------------------


def test_an_unknown_repository(hub):
    with pytest.raises(UsageError, match="no model org/nothing on the Hub, or it is private"):
        open_checkpoint("org/nothing")
    assert hub.requests == 1


def test_an_unknown_repository_with_a_token(hub):
    hub.tokens.add("hf_valid")
    with pytest.raises(UsageError, match="no model org/nothing"):
        open_checkpoint("org/nothing", token="hf_valid")


def test_a_typo_of_a_catalog_name_is_suggested(hub):
    with pytest.raises(UsageError, match="no model mamba-130n") as caught:
        open_checkpoint("mamba-130n")
    assert "mamba-130m" in caught.value.hint


def test_an_unknown_revision(hub, files):
    hub.add_repo(REPO, files)
    with pytest.raises(UsageError, match="org/model has no revision 'v9'"):
        open_checkpoint(REPO, revision="v9")


def test_a_file_that_the_listing_has_and_the_repository_does_not(hub, files, monkeypatch):
    hub.add_repo(REPO, files)
    hub.fail(WEIGHTS, 1, status=404, headers={"X-Error-Code": "EntryNotFound"})
    with pytest.raises(UsageError, match=r"no file 'model\.safetensors'"):
        open_checkpoint(REPO)


# --- who may read -------------------------------------------------------------------------------


def test_a_gated_repository_without_a_token(hub, files):
    hub.add_repo(REPO, files, gated=True)
    with pytest.raises(NetworkError, match="gated repository: it needs a token") as caught:
        open_checkpoint(REPO)
    assert "hf auth login" in caught.value.hint
    assert f"{hub.url}/{REPO}" in caught.value.hint


def test_a_gated_repository_with_a_token_that_has_no_access(hub, files, monkeypatch):
    hub.add_repo(REPO, files, gated=True)
    hub.tokens.add("hf_stranger")
    hub.fail("/resolve/", 9, status=403, headers={"X-Error-Code": "GatedRepo"})
    with pytest.raises(NetworkError, match="this token's account has no access"):
        open_checkpoint(REPO, token="hf_stranger")


@pytest.mark.parametrize("way", ["argument", "environment", "with white space"])
def test_a_gated_repository_with_a_token(hub_with_cdn, files, folder, monkeypatch, way):
    hub = hub_with_cdn
    hub.add_repo(REPO, files, gated=True)
    hub.tokens.add("hf_valid")
    token = {"argument": "hf_valid", "with white space": " hf_valid\n"}.get(way)
    if token is None:
        monkeypatch.setenv("HF_TOKEN", "hf_valid")
    with open_checkpoint(REPO, token=token) as checkpoint:
        assert_right(read_steps(checkpoint), folder)


def test_a_private_repository_without_a_token(hub, files):
    hub.add_repo(REPO, files, private=True)
    with pytest.raises(UsageError, match="or it is private"):
        open_checkpoint(REPO)


def test_a_token_that_the_hub_does_not_know(hub, files):
    hub.add_repo(REPO, files)
    with pytest.raises(NetworkError, match="does not accept the token"):
        open_checkpoint(REPO, token="hf_expired")


def test_a_token_that_no_header_can_hold_is_not_shown(hub, files):
    with pytest.raises(UsageError) as caught:
        open_checkpoint(REPO, token="hf_secret\nX-Evil: 1")
    assert "secret" not in str(caught.value)
    assert hub.requests == 0


def test_the_token_goes_to_the_hub_and_to_no_other_host(hub_with_cdn, files):
    hub = hub_with_cdn
    hub.add_repo(REPO, files, gated=True)
    hub.tokens.add("hf_valid")
    with open_checkpoint(REPO, token="hf_valid") as checkpoint:
        read_steps(checkpoint)
        checkpoint.localize().close()
    at_hub = [seen for seen in hub.seen if seen.host.startswith("127.0.0.1")]
    elsewhere = [seen for seen in hub.seen if seen.host.startswith("localhost")]
    assert len(at_hub) + len(elsewhere) == len(hub.seen)
    assert len(elsewhere) >= 3
    assert all(seen.authorization is None for seen in elsewhere)
    assert all(seen.authorization == "Bearer hf_valid" for seen in at_hub)


@pytest.mark.parametrize("debug", [False, True])
def test_the_token_is_in_no_log_and_no_error(hub, files, caplog, monkeypatch, debug):
    caplog.set_level("DEBUG")
    monkeypatch.setattr("huggingface_hub.constants.HF_DEBUG", debug)
    hub.tokens.add("hf_VerySecretVerySecretVerySecret123")
    hub.add_repo(REPO, files, gated=True)
    hub.fail("/api/", 1, status=429)
    hub.fail(WEIGHTS, 2, kind="drop")
    with open_checkpoint(REPO, token="hf_VerySecretVerySecretVerySecret123") as checkpoint:
        read_steps(checkpoint)
        checkpoint.localize().close()
    assert "trying again" in caplog.text
    assert "VerySecret123" not in caplog.text


@pytest.mark.parametrize("status", [401, 403, 404, 418])
def test_a_token_that_the_server_echoes_is_scrubbed(hub, status):
    hub.fail(
        "/api/",
        99,
        status=status,
        headers={"X-Error-Message": "you sent hf_VerySecretVerySecretVerySecret123"},
    )
    with pytest.raises(SpectrakitError) as caught:
        open_checkpoint(REPO)
    assert "VerySecret123" not in str(caught.value)


# --- what arrives is checked like a local file --------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        (WEIGHTS, b"", MalformedError),
        (WEIGHTS, bytes(5000), MalformedError),
        (WEIGHTS, b"\xff" * 500, MalformedError),
        ("pytorch_model.bin", b"", MalformedError),
        ("pytorch_model.bin", bytes(5000), MalformedError),
        (
            "model.safetensors.index.json",
            b'{"weight_map": {"w": "../x.safetensors"}}',
            MalformedError,
        ),
        ("model.safetensors.index.json", b'{"weight_map": {"w": "x.safetensors"}}', MalformedError),
        ("config.json", b"{", MalformedError),
        ("notes.md", b"", UnsupportedError),
    ],
)
def test_bad_files(hub, files, name, content, error):
    others = files if name == "config.json" else {"config.json": b"{}"}
    hub.add_repo(REPO, others | {name: content})
    with pytest.raises(error):
        open_checkpoint(REPO)
