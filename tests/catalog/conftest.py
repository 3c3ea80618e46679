"""A user's own catalog, and a Hub on this machine that has what it names."""

from __future__ import annotations

import huggingface_hub
import huggingface_hub.constants
import pytest

from spectrakit.catalog import own_folder
from spectrakit.catalog.known import forget
from spectrakit.catalog.records import forget_records
from spectrakit.checkpoints import hub_http
from spectrakit.checkpoints.access import HubAccess
from tests.cli.conftest import command
from tests.conftest import CHECKPOINTS
from tests.support.hub import HubServer
from tests.support.mamba_ssm_files import write_mamba_ssm

__all__ = ["command"]

TINY = """
[models.{name}]
description = "a tiny one"
repo = "{repo}"
license = "MIT"
gated = false
parameters = 229440
weights_bytes = 39168
"""


@pytest.fixture
def waits(monkeypatch):
    """The seconds that would have been waited between attempts; nothing really waits."""
    seconds = []
    monkeypatch.setattr(hub_http, "pause", lambda given_up, wait: seconds.append(wait))
    return seconds


@pytest.fixture
def hub(monkeypatch, tmp_path, waits):
    """A Hub with the tiny Mamba as `someone/tiny`, in the layout of transformers."""
    with HubServer() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
        server.add_repo("someone/tiny", files("tiny-mamba"), card={"license": "mit"})
        yield server
        huggingface_hub.close_session()


@pytest.fixture
def access(tmp_path):
    return HubAccess(cache_dir=tmp_path / "cache")


def files(name):
    """The files of a bundled model."""
    names = ("config.json", "model.safetensors", "tokenizer.json")
    return {each: CHECKPOINTS / name / each for each in names}


def original(folder, name="tiny-mamba"):
    """The files of a bundled Mamba in the layout of mamba_ssm, a torch zip."""
    write_mamba_ssm(CHECKPOINTS / name, folder)
    return {path.name: path for path in folder.iterdir()}


@pytest.fixture
def own():
    """`own("mamba", text)` writes a family file of the user's; it returns the user's folder."""

    def write(family=None, text=""):
        folder = own_folder()
        (folder / "models").mkdir(parents=True, exist_ok=True)
        if family is not None:
            (folder / "models" / f"{family}.toml").write_text(f'family = "{family}"\n{text}')
        forget()
        forget_records()
        return folder

    return write


@pytest.fixture
def tiny(own):
    """The user's folder, with an entry that says of `someone/tiny` what is so."""
    return own("mamba", TINY.format(name="tiny", repo="someone/tiny"))
