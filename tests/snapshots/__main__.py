"""Compare the snapshots with the code, or write them anew: `python -m tests.snapshots --write`."""

from __future__ import annotations

import argparse
import sys

from tests.snapshots.committed import KINDS, Snapshot


def main() -> int:
    """1 where a snapshot differs, or would be written over what it must not."""
    parser = argparse.ArgumentParser(prog="python -m tests.snapshots", description=__doc__)
    parser.add_argument("--write", action="store_true", help="write what differs anew")
    parser.add_argument(
        "--unreleased",
        action="store_true",
        help="no release has this version yet: write changes that break others too",
    )
    asked = parser.parse_args()
    failed = False
    for kind in KINDS:
        snapshot = Snapshot(kind)
        if asked.write and (asked.unreleased or not snapshot.needs_another_version):
            snapshot.write()
        elif (wrong := snapshot.wrong()) is not None:
            failed = True
            sys.stderr.write(f"{wrong}\n")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
