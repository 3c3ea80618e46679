"""`spectrakit extract MODEL`."""

from __future__ import annotations

from collections.abc import Mapping
from json import dumps as json_text
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from spectrakit import __version__
from spectrakit.cli import options
from spectrakit.cli.console import print_data, print_json, tell, terminal_progress
from spectrakit.plain import path_part
from spectrakit.planning import AskedMode

if TYPE_CHECKING:
    from torch import Tensor

    from spectrakit.model import Model
    from spectrakit.tokens import TokenOptions


def extract(
    context: typer.Context,
    model: options.ModelName,
    layers: Annotated[
        str | None, typer.Option(help="Layers, as 0,5-7.", show_default="all")
    ] = None,
    form: Annotated[
        Literal["log-decay", "a-bar"],
        typer.Option(help="log|A|, which keeps its digits near 1, or A itself."),
    ] = "log-decay",
    mode: Annotated[
        AskedMode, typer.Option(help="weights: A, step and D. data: B and C of tokens too.")
    ] = "auto",
    out: Annotated[
        Path | None, typer.Option(help="File to write.", show_default="MODEL.MODE.safetensors")
    ] = None,
    overwrite: options.Overwrite = False,
    json: options.JsonOutput = False,
    text: options.Text = None,
    tokens: options.Tokens = None,
    tokenizer: options.Tokenizer = None,
    bos: options.Bos = False,
    chat_template: options.ChatTemplate = False,
    batch_size: options.BatchSize = 1,
    seq_len: options.SeqLen = 256,
    device: options.Device = "auto",
    config: options.Config = None,
    revision: options.Revision = None,
    cache_dir: options.CacheDir = None,
    token: options.Token = None,
    offline: options.Offline = False,
) -> None:
    """Write the discretised state matrices of chosen layers to a safetensors file.

    Example: spectrakit extract state-spaces/mamba-130m --layers 0,5-7 --form a-bar
    """
    from spectrakit.extraction import check_file, write_safetensors
    from spectrakit.extraction import extract as extract_matrices
    from spectrakit.tokens import TokenOptions

    asked = TokenOptions(
        text, tokens, tokenizer, batch_size, seq_len, batch_size * seq_len, bos, chat_template
    )
    with options.open_model(model, revision, cache_dir, token, offline, config) as opened:
        chosen = None if layers is None else options.numbers(layers)
        source = options.token_source(context, opened, mode, asked)
        path = out or _default_path(opened, source is not None)
        told = _identity(opened, chosen, form, source)
        check_file(path, told, _read(opened, source), overwrite)
        found = extract_matrices(
            opened,
            chosen,
            mode=mode,
            form=form,
            source=source,
            device=device,
            progress=terminal_progress(),
        )
        tensors = found.tensors
        metadata = _metadata(opened, source is not None, found.gauges)
        write_safetensors(path, tensors, told | metadata)
    if json:
        print_json({"file": str(path), "tensors": {n: list(t.shape) for n, t in tensors.items()}})
        return
    _print(tensors)
    tell(f"wrote {path}")


def _default_path(model: Model, observed: bool) -> Path:
    name = path_part(model.checkpoint.model_id.rpartition("/")[2])
    return Path(f"{name}.{'data' if observed else 'weights'}.safetensors")


def _read(model: Model, source: TokenOptions | None) -> list[Path]:
    """The files that the extraction reads, which it must not write over."""
    checkpoint = model.checkpoint
    here = () if checkpoint.origin == "hub" else checkpoint.files
    paths = [checkpoint.file_path(file.path) for file in here]
    given = () if source is None else (source.text, source.tokens, source.tokenizer)
    return [path for path in paths if path] + [Path(name) for name in given if name]


def _identity(
    model: Model, layers: list[int] | None, form: str, source: TokenOptions | None
) -> dict[str, str]:
    """What decides the numbers of the file."""
    settings = {"layers": layers, "form": form, **(source.record() if source else {})}
    return {
        "model_id": model.checkpoint.model_id,
        "revision": model.revision("weights" if source is None else "data"),
        "settings": json_text(settings, sort_keys=True),
    }


def _metadata(model: Model, observed: bool, gauges: Mapping[int, str]) -> dict[str, str]:
    by_layer = (f"{gauge} in layer {index}" for index, gauge in gauges.items())
    same = set(gauges.values())
    modes = {layer.mixer.weights_mode for layer in model.layers if layer.mixer}
    return {
        "spectrakit_version": __version__,
        "mode": "data" if observed else ", ".join(sorted(str(mode) for mode in modes)),
        "gauge": same.pop() if len(same) == 1 else ", ".join(by_layer),
        "recurrence": "h_t = A_bar_t h_{t-1} + B_bar_t u_t, y_t = C_t h_t + D u_t",
    }


def _print(tensors: dict[str, Tensor]) -> None:
    from rich.table import Table

    table = Table("tensor", "shape", "dtype", box=None)
    for name, tensor in tensors.items():
        table.add_row(name, str(list(tensor.shape)), str(tensor.dtype).removeprefix("torch."))
    print_data(table)
