"""`spectrakit inspect MODEL`."""

from __future__ import annotations

import logging
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spectrakit.cli import options
from spectrakit.cli.console import format_bytes, print_data, print_json, tell, terminal_progress
from spectrakit.cli.declared import Chosen
from spectrakit.errors import MalformedError, SpectrakitError, UsageError
from spectrakit.spec import RunSpec
from spectrakit.wording import sends_to_inspect

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.table import Table

    from spectrakit.inspection import BadTensor, Inspection
    from spectrakit.model import Model


def inspect(
    context: typer.Context,  # noqa: ARG001  (what was given is read from it)
    model: options.ModelName,
    check_values: Annotated[
        bool, typer.Option("--check-values", help="Look for NaN and Inf; reads every tensor.")
    ] = False,
    json: options.JsonOutput = False,
    config: options.Config = None,
    *,
    which: Chosen,
    access: Chosen,
) -> None:
    """Show what is in a checkpoint and what can be analysed, from its headers alone."""
    from spectrakit.inspection import bad_tensors, inspect_model

    spec = RunSpec(model=model, config=options.config_values(config), **which.values)
    with (
        _listing_on_error(spec, access, json=json) as printed,
        options.open_model(spec, access) as opened,
    ):
        inspection = inspect_model(opened)
        bad: list[BadTensor] | None = None
        if check_values:
            bad = list(bad_tensors(opened.checkpoint, terminal_progress()))
        if json:
            print_json(_document(opened, inspection, bad))
        else:
            _print(opened, inspection)
            _print_recognised(opened, f"spectrakit analyze {options.typed(spec)}")
        printed.append(True)
        if bad:
            listed = "; ".join(f"{b.name} ({b.nans} NaN, {b.infinities} Inf)" for b in bad[:3])
            message = f"{len(bad)} tensors hold NaN or Inf: {listed}"
            raise MalformedError(message, hint="another copy or an earlier step of the model")
        if check_values:
            tell("no tensor holds NaN or Inf")


@contextmanager
def _listing_on_error(spec: RunSpec, access: Chosen, *, json: bool) -> Iterator[list[bool]]:
    """Show the tensors of what can be opened and not be read, before its error.

    That never sends the user to the command that has just failed. Gives a list that is to be filled
    when something was printed.
    """
    printed: list[bool] = []
    try:
        yield printed
    except SpectrakitError as error:
        if sends_to_inspect(error):
            error.hint = None
        if printed or isinstance(error, UsageError):  # which says all there is to say
            raise
        from spectrakit.checkpoints import open_checkpoint
        from spectrakit.cli.tensor_listing import show_tensors
        from spectrakit.inspection import looks_like

        asked = access.values | {"offline": access.values["offline"] or None}
        try:
            with _notes_were_shown():
                checkpoint = open_checkpoint(
                    spec.opened,
                    revision=spec.revision,
                    file=spec.file,
                    subfolder=spec.subfolder,
                    **asked,
                )
        except SpectrakitError:
            raise error from None
        with checkpoint:
            show_tensors(checkpoint, looks_like(checkpoint), error, json=json)
        raise


@contextmanager
def _notes_were_shown() -> Iterator[None]:
    """What opening a checkpoint says has been said when it was opened before."""
    logger = logging.getLogger("spectrakit")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _print(model: Model, inspection: Inspection) -> None:
    checkpoint = model.checkpoint
    size = sum(file.size for file in checkpoint.files)
    formats = ", ".join(sorted({file.format for file in checkpoint.files}))
    dtypes = ", ".join(f"{name} {count:,}" for name, count in inspection.dtypes.items())
    print_data(
        f"{checkpoint.model_id}  {model.revision('weights')}\n"
        f"  read by      {model.architecture.name} ({model.claimed_by.origin.distribution})\n"
        f"  files        {len(checkpoint.files)} {formats}, {format_bytes(size)}\n"
        f"  parameters   {inspection.parameters:,} ({dtypes})\n"
        f"  weights mode reads {format_bytes(inspection.weights_bytes)} of {format_bytes(size)}"
    )
    for note in model.equations:
        print_data(f"  {note}")
    if model.unknown_keys:
        print_data(f"  config keys that are not known: {', '.join(model.unknown_keys)}")
    print_data(_table(inspection))


def _print_recognised(model: Model, line: str) -> None:
    """Of a bare state dict: the tensors, what they look like, and the command that reads them."""
    from spectrakit.checkpoints.listing import grouped
    from spectrakit.cli.tensor_listing import print_tensors
    from spectrakit.inspection import is_bare, looks_like

    if is_bare(model):
        tensors = model.checkpoint.tensors.values()
        print_data(f"looks like {looks_like(model.checkpoint)}; its {len(tensors):,} tensors:")
        print_tensors(grouped(tensors))
        sys.stdout.write(f"read it by: {line}\n")  # whole, to be copied


def _table(inspection: Inspection) -> Table:
    from rich.table import Table

    columns = ("layer", "kind", "heads", "channels", "state", "weights mode", "data mode", "note")
    table = Table(*columns, box=None)
    for cost in inspection.layers:
        layer = cost.layer
        mode = layer.mixer.weights_mode if layer.mixer else None
        weights = "-" if mode is None else f"{mode}, {format_bytes(cost.weights_bytes or 0)}"
        if layer.mixer is not None and mode is None:
            weights = "needs data"
        table.add_row(
            str(layer.index),
            layer.kind,
            *("" if n is None else str(n) for n in (layer.heads, layer.channels, layer.state_size)),
            weights,
            "-" if cost.data_bytes is None else format_bytes(cost.data_bytes),
            layer.reason or "",
        )
    return table


def _document(model: Model, inspection: Inspection, bad: list[BadTensor] | None) -> dict[str, Any]:
    from dataclasses import asdict

    checkpoint = model.checkpoint
    return {
        "model_id": checkpoint.model_id,
        "revision": model.revision("weights"),
        "source": checkpoint.source,
        "architecture": model.architecture.name,
        "plugin": model.claimed_by.origin.distribution,
        "files": [asdict(file) for file in checkpoint.files],
        "parameters": inspection.parameters,
        "dtypes": inspection.dtypes,
        "weights_bytes": inspection.weights_bytes,
        "equations": list(model.equations),
        "unknown_config_keys": list(model.unknown_keys),
        "layers": [
            {
                "layer": cost.layer.index,
                "path": cost.layer.path,
                "kind": cost.layer.kind,
                "heads": cost.layer.heads,
                "channels": cost.layer.channels,
                "state_size": cost.layer.state_size,
                "weights_mode": cost.layer.mixer.weights_mode if cost.layer.mixer else None,
                "weights_bytes": cost.weights_bytes,
                "data_bytes": cost.data_bytes,
                "reason": cost.layer.reason,
            }
            for cost in inspection.layers
        ],
        "bad_tensors": None if bad is None else [asdict(tensor) for tensor in bad],
    }
