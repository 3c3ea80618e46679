"""`spectrakit compare RUN RUN ...`."""

from __future__ import annotations

import hashlib
import shlex
import sys
from json import dumps as json_text
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from spectrakit.cli import options
from spectrakit.cli.console import print_data, print_json, tell, terminal_progress
from spectrakit.cli.declared import Chosen, called, some
from spectrakit.errors import UsageError
from spectrakit.wording import named

if TYPE_CHECKING:
    from spectrakit.options import Setting
    from spectrakit.tables import Run

Runs = Annotated[
    list[Path],
    typer.Argument(
        metavar="RUN RUN...",
        help="Folders that `spectrakit analyze` wrote; the others are compared with the first.",
        show_default=False,
    ),
]


def compare(
    context: typer.Context,  # noqa: ARG001  (what was given is read from it)
    runs: Runs,
    similarity: Annotated[
        bool,
        typer.Option(
            "--similarity",
            help="Run the models again, on one text, and compare their hidden states (CKA and "
            "others) at the tokens that end at the same character.",
        ),
    ] = False,
    *,
    settings: Chosen,
    output: Chosen,
    access: Chosen,
) -> None:
    """Show how runs differ from the first: distances of their spectra, differences of summaries.

    Example: spectrakit compare spectrakit-runs/trained spectrakit-runs/random
    """
    from spectrakit.checkpoints.access import HubAccess
    from spectrakit.comparison import compare as compare_runs
    from spectrakit.comparison.run_settings import other_settings
    from spectrakit.comparison.view import comparison_report
    from spectrakit.report.drawing import draw_comparison
    from spectrakit.spec import RunSpec
    from spectrakit.spec_files import with_keywords
    from spectrakit.tables import read_run

    if not similarity:
        _only_for_similarity(settings, access)
    shown = options.Output(**output.values)
    opened = [read_run(folder) for folder in runs]
    spec = with_keywords(RunSpec(model="", mode="data"), settings.given)
    alike = None
    if similarity:
        from spectrakit.comparison.models import RunsModels

        asked = access.values
        hub = HubAccess(asked["cache_dir"], asked["token"], asked["offline"] or None)
        alike = RunsModels(spec, hub, terminal_progress())
    written = compare_runs(
        opened,
        shown.out or _default(runs, None if alike is None else alike.settings),
        similarity=alike,
        overwrite=shown.overwrite or shown.out is None,
        draw=draw_comparison if shown.figures else None,
        command=shlex.join(["spectrakit", *sys.argv[1:]]),
    )
    if shown.json:
        for other in opened[1:]:
            if unlike := other_settings(opened[0], other):
                tell(f"note: {other.folder} is set otherwise: {unlike}")
        print_json(_document(written))
        return
    print_data(comparison_report(opened, written))
    tell(f"wrote {written.folder}")


def settings_of_comparison() -> list[Setting]:
    """The settings of a run that say how models are compared."""
    from spectrakit.options import settings
    from spectrakit.spec import RunSpec
    from spectrakit.token_options import TokenOptions

    reading = some(settings(TokenOptions), "text", "tokenizer", "bos", "batch_size", "seq_len",
                   "max_tokens")  # fmt: skip
    return [*reading, *some(settings(RunSpec), "device", "dtype", "seed")]


def output_of_comparison() -> list[Setting]:
    """Where the comparison goes, and how it is shown."""
    out, *others = options.OUTPUT
    return [called(out, "Folder of the comparison.", "spectrakit-runs/compare-HASH"), *others]


def _only_for_similarity(*chosen: Chosen) -> None:
    """Raise UsageError where an option was given that only `--similarity` follows."""
    for keyword in (keyword for each in chosen for keyword in each.given):
        message = f"{named(keyword)} is for --similarity"
        raise UsageError(message, hint="add --similarity")


def _default(runs: list[Path], settings: dict[str, object] | None) -> Path:
    """One folder for each list of runs, and for each way to compare their models."""
    told = "\n".join(str(folder.resolve()) for folder in runs)
    if settings is not None:
        told += f"\n{json_text(settings, sort_keys=True)}"
    digest = hashlib.sha256(told.encode("utf-8", "surrogateescape")).hexdigest()
    return Path("spectrakit-runs", f"compare-{digest[:8]}")


def _document(run: Run) -> dict[str, object]:
    manifest, folder = run.manifest, run.folder
    assert folder is not None  # noqa: S101  (the command always writes one)
    return {
        "schema_version": manifest.schema_version,
        "runs": manifest.spec["runs"],
        "folder": str(folder),
        "tables": {name: str(folder / t.file) for name, t in manifest.tables.items()},
        "figures": [str(folder / file.file) for file in manifest.files.values()],
    }
