"""`spectrakit extract MODEL`."""

from __future__ import annotations

from collections.abc import Mapping
from json import dumps as json_text
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from spectrakit._version import __version__
from spectrakit.cli import options
from spectrakit.cli.console import print_data, print_json, tell, terminal_progress
from spectrakit.cli.declared import Chosen, called, some
from spectrakit.plain import path_part

if TYPE_CHECKING:
    from torch import Tensor

    from spectrakit.model import Model
    from spectrakit.options import Setting
    from spectrakit.spec import RunSpec
    from spectrakit.token_options import TokenOptions


def extract(
    context: typer.Context,  # noqa: ARG001  (what was given is read from it)
    model: options.ModelName,
    layers: Annotated[
        str | None, typer.Option(help="Layers, as 0,5-7.", show_default="all")
    ] = None,
    form: Annotated[
        Literal["log-decay", "a-bar"],
        typer.Option(help="log|A|, which keeps its digits near 1, or A itself."),
    ] = "log-decay",
    *,
    settings: Chosen,
    output: Chosen,
    config: options.Config = None,
    access: Chosen,
) -> None:
    """Write the discretised state matrices of chosen layers to a safetensors file.

    Example: spectrakit extract state-spaces/mamba-130m --layers 0,5-7 --form a-bar
    """
    from spectrakit.extraction import check_file, write_safetensors
    from spectrakit.extraction import extract as extract_matrices
    from spectrakit.planning import plan_reading
    from spectrakit.spec import RunSpec
    from spectrakit.spec_files import with_keywords

    batch = {name: settings.values[name] for name in ("batch_size", "seq_len")}
    spec = RunSpec(model=model, config=options.config_values(config))
    spec = with_keywords(spec, settings.given)
    with options.open_model(spec, access) as opened:
        chosen = None if layers is None else options.numbers(layers)
        observed = plan_reading(opened, spec, keywords=settings.given).source == "data"
        if observed:
            batch |= {"max_tokens": batch["batch_size"] * batch["seq_len"]}
            spec = with_keywords(spec, batch)
        path = output.values["out"] or _default_path(opened, observed)
        told = _identity(opened, chosen, form, spec if observed else None)
        check_file(path, told, _read(opened, spec.source), output.values["overwrite"])
        found = extract_matrices(opened, chosen, spec, form=form, progress=terminal_progress())
        tensors = found.tensors
        metadata = _metadata(opened, observed, found.gauges)
        write_safetensors(path, tensors, told | metadata)
    if output.values["json"]:
        print_json({"file": str(path), "tensors": {n: list(t.shape) for n, t in tensors.items()}})
        return
    _print(tensors)
    tell(f"wrote {path}")


def settings_of_extraction() -> list[Setting]:
    """The settings of a run that say what is read, a smaller batch of it by default."""
    from spectrakit.options import settings
    from spectrakit.spec import WHICH, RunSpec
    from spectrakit.token_options import TokenOptions

    reading = some(settings(TokenOptions), "text", "tokens", "tokenizer", "bos", "chat_template",
                   batch_size=1, seq_len=256)  # fmt: skip
    run = settings(RunSpec)
    return [*some(run, "mode"), *reading, *some(run, "device", *WHICH)]


def output_of_extraction() -> list[Setting]:
    """Where the matrices go, and how they are shown."""
    return [
        called(setting, "File to write.", "MODEL.MODE.safetensors")
        if setting.name == "out" else setting
        for setting in some(options.OUTPUT, "out", "overwrite", "json")
    ]  # fmt: skip


def _default_path(model: Model, observed: bool) -> Path:
    name = path_part(model.checkpoint.model_id.rpartition("/")[2])
    return Path(f"{name}.{'data' if observed else 'weights'}.safetensors")


def _read(model: Model, source: TokenOptions) -> list[Path]:
    """The files that the extraction reads, which it must not write over."""
    checkpoint = model.checkpoint
    here = () if checkpoint.origin == "hub" else checkpoint.files
    paths = [checkpoint.file_path(file.path) for file in here]
    given = (source.text, source.tokens, source.tokenizer)
    return [path for path in paths if path] + [Path(name) for name in given if name]


def _identity(
    model: Model, layers: list[int] | None, form: str, spec: RunSpec | None
) -> dict[str, str]:
    """What decides the numbers of the file; spec: None in weights mode."""
    from spectrakit.token_options import file_sha256

    settings: dict[str, object] = {"layers": layers, "form": form}
    if spec is not None:
        settings |= spec.source.record() | {"content": file_sha256(spec.source.file)}
    return {
        "model_id": model.checkpoint.model_id,
        "revision": model.revision("weights" if spec is None else "data"),
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
