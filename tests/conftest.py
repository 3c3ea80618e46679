"""What many tests share: the bundled checkpoints, and an environment without the user's plugins."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("spectrakit", deadline=None, max_examples=40, derandomize=True)
settings.load_profile("spectrakit")

# Before huggingface_hub is imported: no test may reach the real Hub, whatever it does.
os.environ["HF_ENDPOINT"] = "http://127.0.0.1:9"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["HF_HUB_DISABLE_XET"] = "1"
os.environ.pop("HF_TOKEN", None)
# Plugins that are installed beside have tests of their own.
os.environ["SPECTRAKIT_LOAD_PLUGINS"] = ""

CHECKPOINTS = Path(__file__).parents[1] / "catalog" / "checkpoints"
TINY = ("tiny-mamba", "tiny-mamba2")


@pytest.fixture(scope="session", params=TINY)
def tiny_folder(request):
    """The folder of each bundled checkpoint in turn."""
    return CHECKPOINTS / request.param


@pytest.fixture(scope="session")
def tiny_mamba_folder():
    return CHECKPOINTS / "tiny-mamba"


@pytest.fixture(scope="session")
def tiny_mamba2_folder():
    return CHECKPOINTS / "tiny-mamba2"


@pytest.fixture(autouse=True)
def _no_user_cache(tmp_path_factory, monkeypatch):
    """Keep the tests out of the user's Hub cache, and the user's token out of the tests."""
    monkeypatch.setenv("HF_HOME", str(tmp_path_factory.mktemp("hf-home")))


@pytest.fixture(autouse=True)
def _no_user_catalog(tmp_path_factory, monkeypatch):
    """Keep the user's own catalog entries out of the tests."""
    monkeypatch.setenv("SPECTRAKIT_CATALOG", str(tmp_path_factory.mktemp("catalog") / "own"))
