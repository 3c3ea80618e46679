"""Run the oracles: python -m tests.oracles [--long] [NAME ...]

--long: more families, sizes, seeds and tokens than the tests take; some minutes. Prints a line for
each oracle with what it compared, and for one that disagrees the column, the row and both values.
Ends with 1 where one does.
"""

from __future__ import annotations

import argparse
import sys
import time

from tests.oracles.checking import Report
from tests.oracles.every_oracle import ORACLES


def main():
    """Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.oracles", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(sorted(ORACLES)))
    parser.add_argument("--long", action="store_true", help="as much as takes minutes")
    asked = parser.parse_args()
    if unknown := set(asked.names) - set(ORACLES):
        parser.error(f"there is no oracle {min(unknown)}; there are {', '.join(sorted(ORACLES))}")
    disagreeing = 0
    for name in asked.names or ORACLES:
        report, began = Report(), time.monotonic()
        try:
            ORACLES[name].run(report, asked.long)
            said = f"{len(report.compared)} columns agree"
        except AssertionError as error:
            disagreeing += 1
            said = f"DISAGREES: {error}"
        print(f"{name:24} {time.monotonic() - began:6.1f} s  {said}", flush=True)  # noqa: T201
    return 1 if disagreeing else 0


sys.exit(main())
