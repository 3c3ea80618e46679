"""A fork server that all tests of a file share, and one whose children hurt themselves."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from spectrakit.zoo.children import Children

from .hurting import install_hurting

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def children():
    """Children of this environment, without plugins."""
    made = Children(1, ["torch", "spectrakit.pipeline", "spectrakit.model"])
    yield made
    made.close()


@pytest.fixture(scope="module")
def hurting_children(tmp_path_factory):
    """Children that load the plugin of `hurting`."""
    folder = install_hurting(tmp_path_factory.mktemp("hurting"))
    with pytest.MonkeyPatch.context() as patch:
        paths = [str(folder), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        patch.setenv("PYTHONPATH", os.pathsep.join(paths))
        patch.setenv("SPECTRAKIT_LOAD_PLUGINS", "hurting")
        patch.setenv("HURTING_LEFT", str(folder / "left"))
        made = Children(1, ["torch", "spectrakit.pipeline", "spectrakit.model"])
        made.left = folder / "left"
        yield made
        made.close()
