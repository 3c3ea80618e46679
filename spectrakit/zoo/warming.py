"""What every child would do anew and its server can have done: nothing of models or plugins."""

from __future__ import annotations

from spectrakit import catalog
from spectrakit.plugins import installed_points
from spectrakit.spec_files import prepare
from spectrakit.tables.manifest import installed_versions


def warm() -> None:
    """Fill the caches of the process: a third of what a tiny model takes."""
    installed_points()
    installed_versions()
    prepare()
    catalog.find("")
