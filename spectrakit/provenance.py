"""What a run records of itself before it begins: its `Manifest`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spectrakit.planning import Source, randomized_revision
from spectrakit.tables import Manifest
from spectrakit.tokenization import OWN_TOKENIZER, tokenizer_sha256

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spectrakit.analyses.base import Request
    from spectrakit.forward import Forward
    from spectrakit.model import Model
    from spectrakit.planning import Randomized


def manifest_of(
    model: Model,
    source: Source,
    analyses: Sequence[str],
    request: Request,
    forward: Forward | None,
    randomize: Randomized | None,
    command: str,
) -> Manifest:
    """What is run, on which model, with which options; forward: None in weights mode."""
    origin = model.claimed_by.origin
    return Manifest(
        model_id=model.checkpoint.model_id,
        revision=_revision(model, source, randomize, request.seed),
        mode=source,
        source=model.checkpoint.source,
        architecture=model.architecture.name,
        plugin=origin.distribution,
        plugin_version=origin.version,
        device="cpu" if forward is None else forward.device,
        dtype="float64" if forward is None else forward.dtype,
        seed=request.seed,
        command=command,
        options={
            "analyses": list(analyses),
            "domains": list(request.domains),
            "config": dict(model.checkpoint.given),
            **request.record(analyses),
            **_initial(model, randomize),
            **_remarks(model),
            **({} if forward is None else _of_data_mode(model, forward, analyses)),
        },
    )


def _revision(model: Model, source: Source, randomize: Randomized | None, seed: int) -> str:
    """The model's, or one that says which of its weights were drawn anew."""
    revision = model.revision(source)
    return revision if randomize is None else randomized_revision(revision, randomize, seed)


def _initial(model: Model, randomize: Randomized | None) -> dict[str, Any]:
    """Which weights were drawn anew, and how; warns of what is not known."""
    if randomize is None:
        return {"randomize": None}
    from spectrakit.architectures.untrained import initial_record

    return {"randomize": randomize, "initial": initial_record(model, randomize)}


def _remarks(model: Model) -> dict[str, list[str]]:
    """What a reader of the numbers has to know of the model's config and code."""
    remarks = {"equations": model.equations, "unknown_config_keys": model.unknown_keys}
    return {name: list(said) for name, said in remarks.items() if said}


def _of_data_mode(model: Model, forward: Forward, analyses: Sequence[str]) -> dict[str, Any]:
    options = forward.source
    encodes = options.tokens is None or "probe" in analyses
    read = None
    if encodes:
        framed = options.bos or options.chat_template
        read = tokenizer_sha256(options.tokenizer, model, framed=framed)
    return {
        "gauge": forward.gauge or "dsf and retained for attention, else each layer's own",
        "compat": forward.compat,
        **options.record(),
        "tokenizer": options.tokenizer or model.checkpoint.tokenizer or OWN_TOKENIZER,
        "tokenizer_sha256": read,
    }
