"""Options that several commands share, spelt as the `hf` command spells them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from spectrakit.errors import UsageError
from spectrakit.planning import AskedMode, Compat, Dtype

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
BatchSize = Annotated[int, typer.Option(help="Sequences at once.")]
SeqLen = Annotated[int, typer.Option(help="Tokens of a sequence.")]
MaxTokens = Annotated[int, typer.Option(help="Tokens in all.")]
Seed = Annotated[int, typer.Option(help="Of everything that is drawn at random.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")]
ForwardDtype = Annotated[
    Dtype, typer.Option(help="Of the weights and the forward pass; half precision loses memory.")
]
StateGauge = Annotated[
    Literal["dsf", "unnormalised"] | None,
    typer.Option(
        help="Scaling of the state of layers with a normaliser (attention): "
        "dsf has it in A, unnormalised in C.",
        show_default="each layer's own",
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


#: Options that only a forward pass can follow.
_OF_DATA_MODE = (
    "tokenizer", "batch_size", "seq_len", "max_tokens", "device", "dtype", "gauge",
)  # fmt: skip


def given(context: typer.Context) -> dict[str, Any]:
    """The options that the user gave, by name; none that stand at their default."""
    return {
        name: value
        for name, value in context.params.items()
        if getattr(context.get_parameter_source(name), "name", "DEFAULT") != "DEFAULT"
    }


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
    from spectrakit.planning import plan_layers

    data_asked = asked.text is not None or asked.tokens is not None
    plan = plan_layers(model, mode, data_asked=data_asked, analyses=analyses)
    if plan.source == "data":
        return asked
    for name in given(context):
        if name in _OF_DATA_MODE:
            message = f"--{name.replace('_', '-')} is for data mode"
            raise UsageError(message, hint="add --mode data or --text FILE")
    return None


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
