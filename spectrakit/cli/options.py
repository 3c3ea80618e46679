"""Options that several commands share, spelt as the `hf` command spells them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from spectrakit.analyses.empirical_memory_options import Drive
from spectrakit.errors import UsageError
from spectrakit.planning import AskedMode, Compat, Dtype, Randomized

if TYPE_CHECKING:
    from spectrakit.model import Model
    from spectrakit.tokens import TokenOptions

ModelName = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="A Hub repository, a folder, a weight file, or a name from the catalog.",
        show_default=False,
    ),
]
Revision = Annotated[
    str | None,
    typer.Option(help="Branch, tag or commit.", show_default=False),
]
CacheDir = Annotated[
    Path | None,
    typer.Option(help="Cache folder of the Hub.", show_default=False),
]
Token = Annotated[
    str | None,
    typer.Option(
        help="Access token; better: HF_TOKEN or `hf auth login`.",
        show_default=False,
    ),
]
Offline = Annotated[bool, typer.Option("--offline", help="Use the cache only.")]
FullDownload = Annotated[
    bool,
    typer.Option(
        "--full-download",
        help="Download whole files into the cache instead of the tensors needed.",
    ),
]
Config = Annotated[
    list[str] | None,
    typer.Option(
        metavar="KEY=VALUE",
        help="What the model's config does not say, or says wrongly; repeatable.",
        show_default=False,
    ),
]
Overwrite = Annotated[
    bool,
    typer.Option("--overwrite", help="Replace what --out holds of another model or settings."),
]
JsonOutput = Annotated[
    bool, typer.Option("--json", help="Print one JSON document instead of tables.")
]
Text = Annotated[
    str | None,
    typer.Option(
        help="UTF-8 text to run the model on; - for standard input.",
        show_default="a bundled text",
    ),
]
Tokens = Annotated[
    Path | None,
    typer.Option(
        help="Token ids to run the model on, a .npy file of (n,) or (sequences, length).",
        show_default=False,
    ),
]
Tokenizer = Annotated[
    str | None,
    typer.Option(
        help="A Hub repository, a folder, a tokenizer.json, or bytes.",
        show_default="the model's own",
    ),
]
Bos = Annotated[
    bool, typer.Option("--bos", help="Begin every sequence and prompt with the BOS token.")
]
ChatTemplate = Annotated[
    bool,
    typer.Option(
        "--chat-template",
        help="Read every sequence and prompt as a user's message in the tokenizer's chat template.",
    ),
]
BatchSize = Annotated[int, typer.Option(help="Sequences per batch.")]
SeqLen = Annotated[int, typer.Option(help="Tokens of a sequence.")]
SeqLens = Annotated[
    str, typer.Option(help="Tokens of a sequence; several, as 256,1024,4096, make a run of each.")
]
MaxTokens = Annotated[int, typer.Option(help="Tokens in all.")]
Horizon = Annotated[int, typer.Option(help="Memory is computed for delays below this one.")]
MemoryPast = Annotated[
    Literal["infinite", "horizon"],
    typer.Option(help="Inputs that memory is about: all there ever were, or the last HORIZON."),
]
AllCurves = Annotated[
    bool,
    typer.Option("--all-curves", help="Write every channel's memory function, not the mean alone."),
]
Driven = Annotated[
    Drive,
    typer.Option(help="What empirical_memory measures: the model, its blocks or its mixers."),
]
Estimators = Annotated[
    str | None,
    typer.Option(
        help="Estimators of similarity: cka, cka_minibatch, cka_rbf, mutual_knn, procrustes.",
        show_default="cka,mutual_knn",
    ),
]
SimilarityMemory = Annotated[
    int, typer.Option(help="MiB that similarity may hold beside the states of one batch.")
]
WithoutFirst = Annotated[
    bool,
    typer.Option("--without-first", help="Similarity leaves each sequence's first token out."),
]
MassiveTokens = Annotated[
    float,
    typer.Option(
        metavar="RATIO",
        help="Similarity and propagation leave out tokens whose norm is above this times the "
        "median norm; inf leaves out none.",
    ),
]
MassiveCoordinates = Annotated[
    float,
    typer.Option(
        metavar="RATIO",
        help="Similarity and flow leave out coordinates whose variance or mean square is above "
        "this times the median; inf leaves out none.",
    ),
]
RankTokens = Annotated[
    int, typer.Option(help="Tokens of a sequence that effective rank is taken of, at most.")
]
Randomize = Annotated[
    Randomized | None,
    typer.Option(
        help="Draw the weights anew, as training started from them: a control.",
        show_default="the trained weights",
    ),
]
Task = Annotated[
    str,
    typer.Option(help="What --analyses probe asks: kv-retrieval, multi-doc-qa, or a plugin's."),
]
TaskFile = Annotated[
    Path | None,
    typer.Option(
        help="Records the prompts are made of, as in the files of lost-in-the-middle.",
        show_default="generated, where the task can",
    ),
]
Prompts = Annotated[int, typer.Option(help="Prompts of the task, at most.")]
Pairs = Annotated[
    int | None,
    typer.Option(
        help="Items of a prompt: pairs of key and value, or passages.",
        show_default="10, or all of a file's",
    ),
]
Seed = Annotated[int, typer.Option(help="Random seed.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")]
ForwardDtype = Annotated[
    Dtype,
    typer.Option(help="Type of the weights and the forward pass; half precision loses memory."),
]
StateGauge = Annotated[
    Literal["dsf", "retained", "unnormalised"] | None,
    typer.Option(
        help="Scaling of the state of layers with a normaliser (attention): dsf has it in A, "
        "unnormalised in C; in retained λ is the share of what is read that comes from before.",
        show_default="dsf and retained for attention, else each layer's own",
    ),
]
ReleasedAnalysis = Annotated[
    Compat | None,
    typer.Option(
        help="See the layers as the released analysis of arXiv 2510.09379 does, departures from "
        "its mathematics included, and add its table.",
        show_default="exact",
    ),
]


def open_model(
    name: str,
    revision: str | None,
    cache_dir: Path | None,
    token: str | None,
    offline: bool,
    config: list[str] | None,
    full_download: bool = False,
) -> Model:
    """Open the model these options name, with a progress bar."""
    from spectrakit.cli.console import terminal_progress
    from spectrakit.model import open_checkpoint

    return open_checkpoint(
        name,
        revision=revision,
        cache_dir=cache_dir,
        token=token,
        offline=True if offline else None,
        full_download=full_download,
        config=config_values(config or []),
        progress=terminal_progress(),
    )


def config_values(settings: list[str]) -> dict[str, Any]:
    """KEY=VALUE as a config: a VALUE that is JSON is read as such, any other is a string.

    Raises UsageError for a setting without a key.
    """
    found: dict[str, Any] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not key.strip() or not equals:
            message = f"{setting!r} is not KEY=VALUE"
            raise UsageError(message, hint="--config disc=zoh")
        try:
            found[key.strip()] = json.loads(value)
        except ValueError:
            found[key.strip()] = value
    return found


_LONGEST = 1 << 30
#: Options that only a forward pass can follow.
_OF_DATA_MODE = (
    "tokenizer", "bos", "chat_template", "batch_size", "seq_len", "max_tokens", "device", "dtype",
    "gauge",
)  # fmt: skip


def given(context: typer.Context) -> dict[str, Any]:
    """The options that the user gave, by name; none that stand at their default."""
    return {
        name: value
        for name, value in context.params.items()
        if getattr(context.get_parameter_source(name), "name", "DEFAULT") != "DEFAULT"
    }


#: Options that some analyses alone follow.
_OF_ANALYSIS = {
    "horizon": ("memory",),
    "past": ("memory",),
    "all_curves": ("memory",),
    "drive": ("empirical_memory",),
    "estimators": ("similarity",),
    "similarity_memory": ("similarity",),
    "without_first": ("similarity",),
    "massive_tokens": ("similarity", "propagation"),
    "massive_coordinates": ("similarity", "propagation"),
    "rank_tokens": ("propagation",),
    "task": ("probe",),
    "task_file": ("probe",),
    "prompts": ("probe",),
    "pairs": ("probe",),
}


def check_analyses(context: typer.Context, analyses: Sequence[str]) -> None:
    """Raise UsageError where an option was given whose analysis is not run."""
    for name in given(context):
        followed_by = _OF_ANALYSIS.get(name)
        if followed_by is not None and not set(followed_by) & set(analyses):
            kind = "analysis" if len(followed_by) == 1 else "analyses"
            message = f"--{name.replace('_', '-')} is for the {kind} {' and '.join(followed_by)}"
            raise UsageError(message, hint=f"--analyses {','.join(followed_by)}")


def token_source(
    context: typer.Context,
    model: Model,
    mode: AskedMode,
    asked: TokenOptions,
    analyses: Sequence[str] = (),
) -> TokenOptions | None:
    """`asked` where the model will be run on it; None where its weights are enough.

    Raises UsageError where weights are enough and an option of data mode was given.
    """
    from spectrakit.planning import can_run, plan_layers

    data_asked = asked.text is not None or asked.tokens is not None
    if plan_layers(model, mode, data_asked=data_asked, analyses=analyses).source == "data":
        return asked
    for name in given(context):
        if name in _OF_DATA_MODE:
            option = f"--{name.replace('_', '-')}"
            hint = "add --mode data or --text FILE" if can_run(model) else f"leave {option} out"
            raise UsageError(f"{option} is for data mode", hint=hint)
    return None


def lengths(text: str) -> list[int]:
    """ "256,1024" as [256, 1024]. Raises UsageError for anything else."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and 0 < int(part) <= _LONGEST for part in parts):
        message = f"{text!r} is not a number of tokens, nor a list of them"
        raise UsageError(message, hint="--seq-len 512, or --seq-len 256,1024,4096")
    return list(dict.fromkeys(int(part) for part in parts))


def numbers(text: str) -> list[int]:
    """ "0,5-7" as [0, 5, 6, 7]. Raises UsageError for anything else."""
    found: list[int] = []
    for part in text.split(","):
        low, dash, high = part.strip().partition("-")
        if not low.isdecimal() or (dash and not high.isdecimal()):
            message = f"{text!r} is not a list of layers"
            raise UsageError(message, hint="--layers 0,5-7")
        first, last = int(low), int(high or low)
        if last < first or last > 100_000:
            message = f"{part.strip()!r} is not a range of layers"
            raise UsageError(message, hint="--layers 0,5-7")
        found += range(first, last + 1)
    return list(dict.fromkeys(found))
