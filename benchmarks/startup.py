"""How long a user waits before anything happens."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.checkpoints import Checkpoints
from benchmarks.measure import Row, in_turns, median_seconds, python, ratio, run_process, spectrakit

_HEAVY = ("torch", "transformers", "pyarrow", "altair", "pydantic")
_LOADED = (
    "import sys; sys.argv = ['spectrakit', '--help']\n"
    "from spectrakit.cli import main\n"
    "try: main()\n"
    "except SystemExit: pass\n"
    f"sys.exit(', '.join(m for m in {_HEAVY} if m in sys.modules) or 0)"
)


def rows(checkpoints: Checkpoints) -> Iterator[Row]:
    for name, command, bound in (
        ("`--help`", spectrakit("--help"), 0.3),
        ("`analyze --help`", spectrakit("analyze", "--help"), 0.3),
        ("`inspect`, 516 MB file", spectrakit("inspect", str(checkpoints.safetensors)), 0.6),
    ):
        ours, bare = in_turns(lambda c=command: run_process(c), _bare_python)
        seconds = median_seconds(ours)
        figure = f"{seconds:.2f} s ({ratio(ours, bare):.0f}x of a bare python)"
        yield Row(name, figure, f"<= {bound} s", seconds <= bound)
    run_process(python(_LOADED))  # fails, naming them, where a heavy module was loaded
    yield Row(f"of {', '.join(_HEAVY)} loaded by `--help`", "none", "none", True)


def _bare_python():
    return run_process(python("pass"))
