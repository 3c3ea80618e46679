"""Fixtures of the checkpoint tests: a Hub on this machine, and no waiting."""

from __future__ import annotations

import huggingface_hub
import huggingface_hub.constants
import pytest

from spectrakit.checkpoints import hub_http
from tests.support import shapes
from tests.support.hub import HubServer


@pytest.fixture
def waits(monkeypatch):
    """The seconds that would have been waited between attempts; nothing really waits."""
    seconds = []
    monkeypatch.setattr(hub_http, "pause", lambda given_up, wait: seconds.append(wait))
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", seconds.append)
    return seconds


@pytest.fixture
def hub(monkeypatch, tmp_path, waits):
    """A running Hub that HF_ENDPOINT points to, with an empty cache and no token."""
    with HubServer() as server:
        yield from _pointed_to(server, monkeypatch, tmp_path)


@pytest.fixture
def hub_with_cdn(monkeypatch, tmp_path, waits):
    """Like `hub`; weight files are redirected to another host."""
    with HubServer(cdn=True) as server:
        yield from _pointed_to(server, monkeypatch, tmp_path)


def _pointed_to(server, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub-cache"))
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    yield server
    huggingface_hub.close_session()


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """A small Mamba in safetensors."""
    shape = shapes.Shape(layers=3, width=256, vocabulary=256, state=16)
    config = shapes.mamba_config(shape, original=False)
    tensors = shapes.mamba(shape, original=False)
    return shapes.write(tmp_path_factory.mktemp("m"), config, tensors, form="safetensors")


@pytest.fixture
def files(folder):
    """The files of `folder`, as a Hub serves them."""
    return {path.name: path for path in folder.iterdir()}
