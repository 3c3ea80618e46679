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
from spectrakit.errors import UsageError

if TYPE_CHECKING:
    from spectrakit.tables import Run, Sink

Runs = Annotated[
    list[Path],
    typer.Argument(
        metavar="RUN RUN...",
        help="Folders that `spectrakit analyze` wrote; the others are compared with the first.",
        show_default=False,
    ),
]


def compare(
    context: typer.Context,
    runs: Runs,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the comparison.", show_default="spectrakit-runs/compare-HASH"),
    ] = None,
    overwrite: options.Overwrite = False,
    similarity: Annotated[
        bool,
        typer.Option(
            "--similarity",
            help="Run the models again, on one text, and compare their hidden states (CKA and "
            "others) at the tokens that end at the same character.",
        ),
    ] = False,
    text: options.Text = None,
    tokenizer: options.Tokenizer = None,
    bos: options.Bos = False,
    batch_size: options.BatchSize = 4,
    seq_len: options.SeqLen = 512,
    max_tokens: options.MaxTokens = 8192,
    device: options.Device = "auto",
    dtype: options.ForwardDtype = "float32",
    seed: options.Seed = 0,
    figures: Annotated[bool, typer.Option(help="Draw the pictures too.")] = True,
    json: options.JsonOutput = False,
    cache_dir: options.CacheDir = None,
    token: options.Token = None,
    offline: options.Offline = False,
) -> None:
    """Show how runs differ from the first: distances of their spectra, differences of summaries.

    Example: spectrakit compare spectrakit-runs/trained spectrakit-runs/random
    """
    from spectrakit.analyses.similarity_options import SimilarityOptions
    from spectrakit.comparison import write_comparison
    from spectrakit.model import HubAccess
    from spectrakit.report.comparison import comparison_report
    from spectrakit.report.run_settings import other_settings
    from spectrakit.tables import read_run
    from spectrakit.tokens import TokenOptions

    if not similarity:
        _only_for_similarity(context)
    opened = [read_run(folder) for folder in runs]
    source = TokenOptions(text, None, tokenizer, batch_size, seq_len, max_tokens, bos)
    settings: dict[str, object] | None = None
    if similarity:
        settings = source.record() | {"dtype": dtype, "seed": seed}

    def models_alike(number: int, first: Run, other: Run, sink: Sink) -> None:
        from spectrakit.comparison.models import compare_runs_models

        compare_runs_models(
            number,
            first,
            other,
            source,
            SimilarityOptions(),
            sink,
            HubAccess(cache_dir, token, True if offline else None),
            device=device,
            dtype=dtype,
            seed=seed,
            progress=terminal_progress(),
        )

    written = write_comparison(
        opened,
        out or _default(runs, settings),
        similarity=models_alike if similarity else None,
        settings=settings,
        overwrite=overwrite or out is None,
        figures=figures,
        command=shlex.join(["spectrakit", *sys.argv[1:]]),
    )
    if json:
        for other in opened[1:]:
            if unlike := other_settings(opened[0], other):
                tell(f"note: {other.folder} is set otherwise: {unlike}")
        print_json(_document(written))
        return
    print_data(comparison_report(opened, written))
    tell(f"wrote {written.folder}")


_OF_THE_RUNS = frozenset({"runs", "out", "overwrite", "figures", "json"})


def _only_for_similarity(context: typer.Context) -> None:
    """Raise UsageError where an option was given that only `--similarity` follows."""
    for name in options.given(context):
        if name not in _OF_THE_RUNS:
            message = f"--{name.replace('_', '-')} is for --similarity"
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
        "runs": manifest.options["runs"],
        "folder": str(folder),
        "tables": {name: str(folder / t.file) for name, t in manifest.tables.items()},
        "figures": [str(folder / file.file) for file in manifest.files.values()],
    }
