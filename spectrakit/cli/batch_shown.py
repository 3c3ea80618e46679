"""What the commands of `spectrakit batch` print."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spectrakit.cli.batch_progress import counted, duration
from spectrakit.cli.console import format_bytes, print_data, print_json, tell
from spectrakit.errors import BatchFailures
from spectrakit.plain import plain

if TYPE_CHECKING:
    from rich.table import Table

    from spectrakit.tables import Run
    from spectrakit.zoo.batch import Batch
    from spectrakit.zoo.job import Outcome
    from spectrakit.zoo.sorting import Sorted
    from spectrakit.zoo.status import Status

#: Failures that are shown one by one; `batch status` has them all.
_SHOWN = 20


def show_batch(done: Batch, summary: Run | None, *, json: bool) -> None:
    """What a batch came to: its leaderboard, and what failed, which is then an error.

    Raises BatchFailures where some models have no run.
    """
    from spectrakit.zoo.leaderboard_view import view

    finished = done.total - len(done.failed)
    if json:
        print_json(_document(done, summary))
    else:
        if summary is not None and len(summary.table("models")) > 1:
            for part in view(summary):
                print_data(part)
            print_data("")
        for outcome in list(done.failed.values())[:_SHOWN]:
            print_data(_failure_lines(outcome))
        if len(done.failed) > _SHOWN:
            print_data(f"and {len(done.failed) - _SHOWN} more failed")
        computed, kept = done.ended.computed, done.before + done.ended.kept
        again = f", {kept} of them before" if kept else ""
        board = "" if summary is None or not computed else f"; leaderboard: {summary.folder}"
        tell(
            f"{finished} of {done.total} models finished{again}; "
            f"wrote {counted(computed, 'run')} into {done.folder.runs}{board}"
        )
    if done.failed:
        message = f"{len(done.failed)} of {done.total} models failed"
        folder = shlex.quote(str(done.folder.path))
        hint = f"spectrakit batch status {folder}; mended, the same command with"
        raise BatchFailures(message, hint=f"{hint} --retry-failed")


def _failure_lines(outcome: Outcome, what: str = "failed") -> str:
    """Why a model has no run, and what to try next."""
    told = f"{outcome.name} {what} ({outcome.failure}, exit code {outcome.exit_code}): "
    hint = "" if outcome.hint is None else f"\n  try: {outcome.hint}"
    return f"{told}{outcome.reason}{hint}"


def _document(done: Batch, summary: Run | None) -> dict[str, Any]:
    board = [] if summary is None else summary.table("leaderboard").to_pylist()
    return {
        "folder": str(done.folder.path),
        "models": done.total,
        "finished": done.total - len(done.failed),
        "computed": done.ended.computed,
        "failed": [_failure(outcome) for outcome in done.failed.values()],
        "summary": None if summary is None else str(summary.folder),
        "leaderboard": [_finite(row) for row in board],
    }


def _failure(outcome: Outcome) -> dict[str, Any]:
    told = asdict(outcome)
    kept = ("name", "failure", "exit_code", "reason", "hint", "seconds", "peak_memory", "log")
    return {name: told[name] for name in kept}


def _finite(row: dict[str, Any]) -> dict[str, Any]:
    """JSON has no infinity."""
    infinite = (float("inf"), float("-inf"))
    return {name: None if value in infinite else value for name, value in row.items()}


def show_costs(found: Sorted, costs: Mapping[str, Outcome], at_once: int, *, json: bool) -> None:
    """What a batch would do, and what that would take."""
    done = len(found.finished)
    if json:
        print_json(
            {
                "finished": done,
                "failed": sorted(found.failed),
                "models": [
                    {"name": name, "reason": outcome.reason or None}
                    | ({} if outcome.cost is None else asdict(outcome.cost))
                    for name, outcome in costs.items()
                ],
            }
        )
        return
    if any(outcome.cost is not None for outcome in costs.values()):
        print_data(_costs(costs))
        print_data("")
    for outcome in costs.values():
        if outcome.cost is None:
            print_data(_failure_lines(outcome, "cannot be run"))
    known = [outcome.cost for outcome in costs.values() if outcome.cost is not None]
    seconds = sum(cost.seconds for cost in known) / max(1, min(at_once, len(known)))
    download = sum(cost.download for cost in known)
    parts = [f"{counted(len(known), 'model')} would be run, {_about(seconds)}"]
    if download:
        parts.append(f"{format_bytes(download)} to download")
    counts = {"finished": done, "failed before": len(found.failed)}
    counts["cannot be run"] = len(costs) - len(known)
    counts["in the place of runs with other settings"] = len(found.replaced)
    tell("; ".join([*parts, *(f"{count} {what}" for what, count in counts.items() if count)]))


def _about(seconds: float) -> str:
    """An estimate, as coarse as it is."""
    return "under 10 s" if seconds < 10 else f"about {duration(seconds)}"


def _costs(costs: Mapping[str, Outcome]) -> Table:
    from rich.table import Table

    table = Table("would run", "mode", "download", "memory", "time", box=None)
    table.columns[0].overflow = "fold"
    for column in table.columns[1:]:
        column.no_wrap = True
    for name, outcome in costs.items():
        cost = outcome.cost
        if cost is None:
            continue
        table.add_row(
            name,
            cost.mode,
            format_bytes(cost.download) if cost.download else "-",
            format_bytes(cost.memory),
            _about(cost.seconds),
        )
    return table


def show_status(status: Status, *, json: bool) -> None:
    """How a batch stands."""
    counts = {
        state: status.count(state) for state in ("finished", "failed", "running", "unfinished")
    }
    counts["not begun"] = status.not_begun
    if json:
        entries = [
            asdict(entry) | {"outcome": None if entry.outcome is None else _failure(entry.outcome)}
            for entry in status.entries
        ]
        print_json({"counts": counts, "drivers": list(status.drivers), "models": entries})
        return
    for entry in status.entries:
        if entry.outcome is not None:
            print_data(_failure_lines(entry.outcome))
        elif entry.state != "finished":
            by = "" if entry.driver is None else f" ({entry.driver})"
            print_data(f"{entry.name} {entry.state}{by}")
    print_data(", ".join(f"{count} {state}" for state, count in counts.items() if count) or "empty")
    for driver in status.drivers:
        tell(f"at work: {driver}")


def show_files(files: Mapping[str, Path], *, json: bool) -> None:
    """The files that were written, by table."""
    if json:
        print_json({"tables": {name: str(path) for name, path in files.items()}})
        return
    for name in sorted(files):  # each a line, however long: others read them
        sys.stdout.write(f"{plain(str(files[name]))}\n")
