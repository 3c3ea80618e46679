"""Run all benchmarks, print the table and keep it under the hardware's name.

python -m benchmarks              # all
python -m benchmarks sketch       # some
python -m benchmarks sketch --save    # some, and keep their table under their names
python -m benchmarks --no-save
"""

from __future__ import annotations

import argparse
import datetime as dt
import tempfile
from importlib.metadata import version
from pathlib import Path

from benchmarks import (
    all_analyses,
    attention,
    batch,
    checkpoints,
    data_mode,
    delta_training,
    hub_traffic,
    local_file,
    many_tensors,
    measure,
    memory,
    operators,
    plugins,
    propagation,
    similarity,
    sketch,
    startup,
    training,
)

CASES = {
    "startup": startup,
    "hub_traffic": hub_traffic,
    "local_file": local_file,
    "many_tensors": many_tensors,
    "sketch": sketch,
    "operators": operators,
    "memory": memory,
    "plugins": plugins,
    "data_mode": data_mode,
    "attention": attention,
    "similarity": similarity,
    "propagation": propagation,
    "all_analyses": all_analyses,
    "batch": batch,
    "training": training,
    "delta_training": delta_training,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--no-save", action="store_true")
    parser.add_argument("--save", action="store_true", help="of some cases too")
    arguments = parser.parse_args()
    rows: list[measure.Row] = []
    with tempfile.TemporaryDirectory() as folder:
        made = checkpoints.make(Path(folder))
        for name in arguments.cases or CASES:
            for row in CASES[name].rows(made):
                line = f"{'ok  ' if row.met else 'MISS'} {row.what}: {row.figure} ({row.bound})"
                print(line, flush=True)
                rows.append(row)
    if arguments.save or not (arguments.no_save or arguments.cases):
        _save(rows, arguments.cases)


def _save(rows: list[measure.Row], cases: list[str]) -> None:
    today = dt.datetime.now(dt.UTC).date()
    command = f' ARGS="{" ".join(cases)}"' if cases else ""
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "numpy"))
    lines = [
        f"# {measure.hardware()}, {today}",
        "",
        f"`make bench{command}`; spectrakit {version('spectrakit')}, {versions}.",
        "Times are medians of runs taken in turn with what they are compared to, on a shared and",
        "noisy machine.",
        "",
        "| what | measured | bound | met |",
        "| --- | --- | --- | --- |",
        *(_line(row) for row in rows),
    ]
    folder = Path(__file__).parent / "results"
    folder.mkdir(exist_ok=True)
    name = "-".join([str(today), measure.hardware(), *cases])
    path = folder / f"{name}.md"
    path.write_text("\n".join(lines) + "\n")
    print(f"wrote {path}")


def _line(row: measure.Row) -> str:
    """A line of the table; a bar inside a cell would end it."""
    cells = (row.what, row.figure, row.bound, "yes" if row.met else "no")
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


if __name__ == "__main__":
    main()
