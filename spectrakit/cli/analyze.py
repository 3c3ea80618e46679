"""`spectrakit analyze MODEL`."""

from __future__ import annotations

import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from spectrakit.cli import options
from spectrakit.cli.console import print_json, tell, terminal_progress
from spectrakit.cli.run_output import run_document, show_run
from spectrakit.planning import AskedMode

if TYPE_CHECKING:
    from spectrakit.dynamics import Domain


def analyze(
    context: typer.Context,
    model: options.ModelName,
    mode: Annotated[
        AskedMode,
        typer.Option(help="weights reads a few MB; data runs the model; auto chooses."),
    ] = "auto",
    analyses: Annotated[
        str,
        typer.Option(
            help="Analyses to run, by name, separated by commas; or all, which leaves out those "
            "that run the model again (empirical_memory, perturbation) or ask it prompts (probe), "
            "and rickenbach2025, which --compat adds. Name them beside it: all,probe."
        ),
    ] = "spectrum",
    domain: Annotated[
        Literal["discrete", "continuous", "both"],
        typer.Option(help="Eigenvalues of the discretised A, of the continuous A, or both."),
    ] = "discrete",
    out: Annotated[
        Path | None,
        typer.Option(help="Run folder.", show_default="spectrakit-runs/MODEL/SHA/MODE"),
    ] = None,
    overwrite: options.Overwrite = False,
    figures: Annotated[bool, typer.Option(help="Draw the pictures too.")] = True,
    json: options.JsonOutput = False,
    text: options.Text = None,
    tokens: options.Tokens = None,
    tokenizer: options.Tokenizer = None,
    bos: options.Bos = False,
    chat_template: options.ChatTemplate = False,
    batch_size: options.BatchSize = 4,
    seq_len: options.SeqLens = "512",
    max_tokens: options.MaxTokens = 8192,
    device: options.Device = "auto",
    dtype: options.ForwardDtype = "float32",
    gauge: options.StateGauge = None,
    compat: options.ReleasedAnalysis = None,
    randomize: options.Randomize = None,
    seed: options.Seed = 0,
    horizon: options.Horizon = 1 << 16,
    past: options.MemoryPast = "infinite",
    all_curves: options.AllCurves = False,
    estimators: options.Estimators = None,
    similarity_memory: options.SimilarityMemory = 1024,
    without_first: options.WithoutFirst = False,
    massive_tokens: options.MassiveTokens = 20.0,
    massive_coordinates: options.MassiveCoordinates = 20.0,
    rank_tokens: options.RankTokens = 128,
    drive: options.Driven = "model",
    task: options.Task = "kv-retrieval",
    task_file: options.TaskFile = None,
    prompts: options.Prompts = 200,
    pairs: options.Pairs = None,
    config: options.Config = None,
    revision: options.Revision = None,
    cache_dir: options.CacheDir = None,
    token: options.Token = None,
    offline: options.Offline = False,
    full_download: options.FullDownload = False,
) -> None:
    """Compute spectra, memory or representations of a model; write them as Parquet, with pictures.

    Examples: spectrakit analyze state-spaces/mamba-130m; spectrakit analyze ./model --text book.txt
    """
    from spectrakit import pipeline
    from spectrakit.analyses.empirical_memory_options import EmpiricalMemoryOptions
    from spectrakit.analyses.massive_options import MassiveOptions
    from spectrakit.analyses.memory_options import MemoryOptions
    from spectrakit.analyses.probe_options import ProbeOptions
    from spectrakit.analyses.propagation_options import PropagationOptions
    from spectrakit.analyses.running import analysis_names
    from spectrakit.analyses.similarity_options import SimilarityOptions
    from spectrakit.planning import (
        default_folder,
        may_run,
        mode_if_random,
        shows_states_alone,
    )
    from spectrakit.tokens import TokenOptions

    lengths = options.lengths(seq_len)
    asked = TokenOptions(
        text, tokens, tokenizer, batch_size, lengths[0], max_tokens, bos, chat_template
    )
    domains: tuple[Domain, ...]
    domains = ("discrete", "continuous") if domain == "both" else (domain,)
    words = [name.strip() for name in analyses.split(",")]
    # Words that mean nothing are refused before a model is opened, which may be far away.
    options.check_analyses(context, analysis_names(words, forward=mode != "weights"))
    similarity = SimilarityOptions(
        memory_bytes=similarity_memory << 20, without_first=without_first
    )
    massive = MassiveOptions(massive_tokens, massive_coordinates)
    if estimators is not None:
        chosen: Any = tuple(name.strip() for name in estimators.split(","))
        similarity = replace(similarity, estimators=chosen)  # which checks the names
    with options.open_model(
        model, revision, cache_dir, token, offline, config, full_download
    ) as opened:
        mode = mode_if_random(opened, mode, randomize)
        names = analysis_names(
            words, forward=may_run(opened, mode), recurrences=not shows_states_alone(opened)
        )
        options.check_analyses(context, names)
        source = options.token_source(context, opened, mode, asked, names)
        folder = out or default_folder(opened, source, _settings(context))
        runs = [
            pipeline.analyze(
                opened,
                analyses=names,
                mode=mode,
                domains=domains,
                source=None if source is None else replace(source, seq_len=length),
                device=device,
                dtype=dtype,
                gauge=gauge,
                compat=compat,
                seed=seed,
                randomize=randomize,
                memory=MemoryOptions(horizon, past=past, curves=all_curves),
                similarity=similarity,
                propagation=PropagationOptions(rank_tokens),
                massive=massive,
                empirical_memory=EmpiricalMemoryOptions(drive),
                probe=ProbeOptions(task, task_file, prompts, pairs),
                out=folder if len(lengths) == 1 else folder / f"seq-{length}",
                # The folder chosen here has only runs that were asked for alike.
                overwrite=overwrite or out is None,
                figures=figures,
                command=shlex.join(["spectrakit", *sys.argv[1:]]),
                progress=terminal_progress(),
            )
            for length in lengths
        ]
        moved = opened.checkpoint.bytes_read
    if json:
        documents = [run_document(run) for run in runs]
        print_json(documents[0] if len(runs) == 1 else {"runs": documents})
        return
    for run in runs:
        show_run(run, moved)
    if len(runs) > 1:
        folders = " ".join(str(run.folder) for run in runs)
        tell(f"side by side: spectrakit compare {folders}")


#: Options that say where things are and how they are shown, not what is computed.
_NOT_SETTINGS = frozenset(
    {"model", "mode", "out", "overwrite", "figures", "json", "device", "revision", "cache_dir",
     "token", "offline", "full_download"}
)  # fmt: skip


def _settings(context: typer.Context) -> dict[str, str]:
    """What the user asked for otherwise than by default, and can tell two runs apart."""
    return {n: str(v) for n, v in options.given(context).items() if n not in _NOT_SETTINGS}
