"""Where the catalog is: the one that ships, and the user's own."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from spectrakit.errors import MalformedError

#: The folder of family files inside a catalog.
MODELS = "models"


def folder() -> Path:
    """The catalog's folder: inside the installed package, or at the root of the source tree.

    Raises `MalformedError` when neither is there (a broken installation).
    """
    package = Path(__file__).parents[1]
    for candidate in (package / "_catalog", package.parent / "catalog"):
        if (candidate / MODELS).is_dir():
            return candidate
    raise MalformedError(
        f"the catalog ({MODELS}/) is missing from this installation",
        hint="pip install --force-reinstall spectrakit",
    )


def own_folder() -> Path:
    """The folder of the user's own entries and records: SPECTRAKIT_CATALOG, or the platform's.

    That is where `typer.get_app_dir` has it, which costs the import of typer. It need not exist.
    """
    given = os.environ.get("SPECTRAKIT_CATALOG")
    if given:
        return Path(given).expanduser()
    if sys.platform == "win32":
        base = Path(os.environ.get("APPDATA") or "~")
    elif sys.platform == "darwin":
        base = Path("~/Library/Application Support")
    else:
        base = Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config")
    return base.expanduser() / "spectrakit"
