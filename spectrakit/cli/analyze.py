"""`spectrakit analyze MODEL`."""

from __future__ import annotations

import math
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from spectrakit.cli import options
from spectrakit.cli.console import format_bytes, print_data, print_json, tell, terminal_progress
from spectrakit.planning import AskedMode

if TYPE_CHECKING:
    from spectrakit.dynamics import Domain
    from spectrakit.tables import Run


def analyze(
    context: typer.Context,
    model: options.ModelName,
    mode: Annotated[
        AskedMode,
        typer.Option(help="weights reads a few MB; data runs the model; auto chooses."),
    ] = "auto",
    analyses: Annotated[
        str, typer.Option(help="Analyses to run, by name, separated by commas; or all.")
    ] = "spectrum",
    domain: Annotated[
        Literal["discrete", "continuous", "both"],
        typer.Option(help="Eigenvalues of the discretised A, of the continuous A, or both."),
    ] = "discrete",
    out: Annotated[
        Path | None,
        typer.Option(help="Run folder.", show_default="spectrakit-runs/MODEL/SHA/MODE"),
    ] = None,
    figures: Annotated[bool, typer.Option(help="Draw the pictures too.")] = True,
    json: options.JsonOutput = False,
    text: options.Text = None,
    tokens: options.Tokens = None,
    tokenizer: options.Tokenizer = None,
    batch_size: options.BatchSize = 4,
    seq_len: options.SeqLen = 512,
    max_tokens: options.MaxTokens = 8192,
    device: options.Device = "auto",
    dtype: options.ForwardDtype = "float32",
    gauge: options.StateGauge = None,
    compat: options.ReleasedAnalysis = None,
    seed: options.Seed = 0,
    config: options.Config = None,
    revision: options.Revision = None,
    cache_dir: options.CacheDir = None,
    token: options.Token = None,
    offline: options.Offline = False,
    full_download: options.FullDownload = False,
) -> None:
    """Compute a model's spectra and write them as Parquet, with a table and a picture.

    Examples: spectrakit analyze state-spaces/mamba-130m; spectrakit analyze ./model --text book.txt
    """
    from spectrakit import pipeline
    from spectrakit.analyses.running import analysis_names
    from spectrakit.planning import default_folder
    from spectrakit.tokens import TokenOptions

    asked = TokenOptions(text, tokens, tokenizer, batch_size, seq_len, max_tokens)
    domains: tuple[Domain, ...]
    domains = ("discrete", "continuous") if domain == "both" else (domain,)
    words = [name.strip() for name in analyses.split(",")]
    names = analysis_names(words, forward=mode != "weights")
    with options.open_model(
        model, revision, cache_dir, token, offline, config, full_download
    ) as opened:
        source = options.token_source(context, opened, mode, asked, names)
        run = pipeline.analyze(
            opened,
            analyses=names,
            mode=mode,
            domains=domains,
            source=source,
            device=device,
            dtype=dtype,
            gauge=gauge,
            compat=compat,
            seed=seed,
            out=out or default_folder(opened, source, _settings(context)),
            figures=figures,
            command=shlex.join(["spectrakit", *sys.argv[1:]]),
            progress=terminal_progress(),
        )
        moved = opened.checkpoint.bytes_read
    if json:
        print_json(_document(run))
        return
    from spectrakit.report import companions_report, spectrum_report

    print_data(spectrum_report(run))
    print_data(companions_report(run))
    tensors = sum(run.table("layers")["bytes_read"].to_pylist())
    tell(
        f"read {format_bytes(tensors)} of these layers' tensors "
        f"({format_bytes(moved)} with headers and the model's fingerprint); wrote {run.folder}"
    )


#: Options that say where things are and how they are shown, not what is computed.
_NOT_SETTINGS = frozenset(
    {"model", "mode", "out", "figures", "json", "device", "revision", "cache_dir", "token",
     "offline", "full_download"}
)  # fmt: skip


def _settings(context: typer.Context) -> dict[str, str]:
    """What the user asked for otherwise than by default, and can tell two runs apart."""
    return {n: str(v) for n, v in options.given(context).items() if n not in _NOT_SETTINGS}


def _document(run: Run) -> dict[str, Any]:
    manifest, folder = run.manifest, run.folder
    assert folder is not None  # noqa: S101  (the command always writes one)
    return {
        "schema_version": manifest.schema_version,
        "model_id": manifest.model_id,
        "revision": manifest.revision,
        "mode": manifest.mode,
        "folder": str(folder),
        "tables": {name: str(folder / t.file) for name, t in manifest.tables.items()},
        "figures": [str(folder / file.file) for file in manifest.files.values()],
        "layers": _layers(run),
    }


def _layers(run: Run) -> list[dict[str, Any]]:
    """Each layer's row, with the summary of its spectrum in each domain."""
    layers = {row["layer"]: row | {"spectrum": {}} for row in run.table("layers").to_pylist()}
    if "spectrum_summary" in run.tables:
        for row in run.table("spectrum_summary").to_pylist():
            if row["head"] is None:
                summary = {name: _finite(row[name]) for name in row if name not in _NOT_SHOWN}
                layers[row["layer"]]["spectrum"][row["domain"]] = summary
    return list(layers.values())


_NOT_SHOWN = frozenset({"model_id", "revision", "layer", "head", "domain"})


def _finite(value: Any) -> Any:  # noqa: ANN401  (a cell of a table)
    """JSON has no infinity: a timescale that never ends is null."""
    return None if isinstance(value, float) and math.isinf(value) else value
