"""What plugins cost: at every start, and to check them."""

from __future__ import annotations

import os
import statistics
import tempfile
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

from benchmarks.checkpoints import Checkpoints
from benchmarks.measure import Row, in_turns, run_process, spectrakit
from spectrakit.plugin_template import Words, write_plugin
from spectrakit.plugins import GROUP

PLUGINS = 20
#: The distributions in plugins/, where they are installed.
REAL = ("spectrakit-fla", "spectrakit-rwkv", "spectrakit-mamba3")


def rows(_: Checkpoints) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        names = [install(f"measured-{index}", Path(folder)) for index in range(PLUGINS)]
        yield from help_with(names, folder)
        yield conformance(names[0], PYTHONPATH=folder)
    installed = {point.dist.name for point in entry_points(group=GROUP) if point.dist}
    for name in REAL:
        if name in installed:
            yield conformance(name)


def help_with(names: list[str], site: str) -> Iterator[Row]:
    """`--help` with these plugins, against none."""
    command = spectrakit("--help")
    path = os.pathsep.join(filter(None, [site, os.environ.get("PYTHONPATH", "")]))
    loaded, none = in_turns(
        lambda: run_process(command, PYTHONPATH=path, SPECTRAKIT_LOAD_PLUGINS=",".join(names)),
        lambda: run_process(command, PYTHONPATH=path, SPECTRAKIT_LOAD_PLUGINS=""),
        times=15,
    )
    added = statistics.median(a.seconds - b.seconds for a, b in zip(loaded, none, strict=True))
    milliseconds = 1000 * added
    yield Row(
        f"{PLUGINS} plugins added to `--help`", f"{milliseconds:.0f} ms", "<= 50 ms",
        milliseconds <= 50,
    )  # fmt: skip


def conformance(name: str, **environment: str) -> Row:
    """All checks of a plugin, as a user runs them."""
    wanted = {"SPECTRAKIT_LOAD_PLUGINS": name} if environment else {}
    seconds = run_process(spectrakit("plugins", "check", name), **environment, **wanted).seconds
    figure = f"{seconds:.0f} s"
    return Row(f"`plugins check {name}`", figure, "<= 60 s", seconds <= 60)


def install(name: str, site: Path) -> str:
    """Put a plugin made by `plugins new` where PYTHONPATH finds it; its entry point's name.

    As pip would, but without twenty builds.
    """
    words = Words(name)
    write_plugin(name, site / "sources")
    (site / "sources" / words.distribution / words.package).rename(site / words.package)
    info = site / f"{words.package}-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Name: {words.distribution}\nVersion: 0.1.0\n")
    (info / "entry_points.txt").write_text(f"[{GROUP}]\n{name} = {words.package}\n")
    return name
