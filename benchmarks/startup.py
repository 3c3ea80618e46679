"""How long a user waits before anything happens."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.checkpoints import Checkpoints
from benchmarks.measure import Row, in_turns, median_seconds, python, ratio, run_process, spectrakit
from spectrakit.catalog.files import read_folder

_HEAVY = ("torch", "transformers", "pyarrow", "altair", "pydantic")
_LOADED = (
    "import sys; sys.argv = ['spectrakit', '--help']\n"
    "from spectrakit.cli import main\n"
    "try: main()\n"
    "except SystemExit: pass\n"
    f"sys.exit(', '.join(m for m in {_HEAVY} if m in sys.modules) or 0)"
)
_ENTRY = """
[models.{name}]
description = "Mamba with normalised step and B, C, 7B parameters"
repo = "org/{name}"
format = "transformers"
parameters = 7272665088
license = "falcon-mamba-7b-license"
gated = false
tokenizer = "org/tokenizer"
weights_bytes = 50331648
source = "https://huggingface.co/docs/transformers/model_doc/falcon_mamba"
"""


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
    yield _catalog()


def _catalog() -> Row:
    """A catalog of 100 files and 200 entries, parsed whole; a run parses what it looks for."""
    with tempfile.TemporaryDirectory() as folder:
        models = Path(folder) / "models"
        models.mkdir()
        for number in range(100):
            entries = "".join(_ENTRY.format(name=f"m{number}-{which}") for which in range(2))
            (models / f"f{number}.toml").write_text(f'family = "f{number}"\n{entries}')
        read_folder(Path(folder))
        times = [_seconds(lambda: read_folder(Path(folder))) for _ in range(5)]
    seconds = statistics.median(times)
    name = "a catalog of 100 families, 200 models"
    return Row(name, f"{1000 * seconds:.0f} ms", "<= 60 ms", seconds <= 0.06)


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _bare_python():
    return run_process(python("pass"))
