"""What a run records of itself before it begins: its `Manifest`."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spectrakit.errors import UsageError
from spectrakit.planning import randomized_revision
from spectrakit.tables import Manifest
from spectrakit.token_options import file_sha256
from spectrakit.tokenization import tokenizer_sha256
from spectrakit.wording import named

if TYPE_CHECKING:
    from spectrakit.model import Model
    from spectrakit.output import Destination
    from spectrakit.planning import Resolved
    from spectrakit.spec import RunSpec

logger = logging.getLogger("spectrakit")


def manifest_of(
    model: Model, resolved: Resolved, contents: dict[str, str | None], to: Destination
) -> Manifest:
    """What is run, on which model, with which settings; contents: see `contents_of`."""
    spec, source = resolved.spec, resolved.plan.source
    origin = model.claimed_by.origin
    data = source == "data"
    return Manifest(
        model_id=model.checkpoint.model_id,
        revision=run_revision(model, spec),
        mode=source,
        source=model.checkpoint.source,
        architecture=model.architecture.name,
        plugin=origin.distribution,
        plugin_version=origin.version,
        device=spec.device if data else "cpu",
        dtype=spec.dtype if data else "float64",
        seed=spec.seed,
        command=to.command,
        spec=spec.record(),
        key=to.key,
        contents=contents,
        remarks=_remarks(model, spec),
    )


def contents_of(model: Model, resolved: Resolved) -> dict[str, str | None]:
    """The SHA-256 of every file besides the model's that a run reads, by the setting that names it.

    None where it cannot be hashed: standard input. The tokenizer is there where a text is encoded.
    """
    spec = resolved.spec
    found: dict[str, str | None] = {}
    for name, setting, value in spec.settings():
        if setting.type is Path and value is not None:
            found[name] = file_sha256(value)
    if resolved.plan.source == "weights":
        return found
    source = spec.source
    if source.text is not None:
        found["text"] = file_sha256(source.file)
    if source.tokens is None or any("prompts" in kind.sees for kind in resolved.kinds):
        framed = source.bos or source.chat_template
        found["tokenizer"] = tokenizer_sha256(source.tokenizer, model, framed=framed)
    return found


#: Settings that the revision of a run tells too.
_IN_REVISION = ("mode", "config", "randomize", "seed")


def check_repeated(earlier: Manifest, manifest: Manifest) -> None:
    """Raise UsageError where a run cannot be repeated: its model or a file is another one now.

    What was set otherwise on purpose is no repetition and not looked at. Warns of other versions of
    the libraries, with which last digits may differ.
    """
    own, theirs = manifest.settings(), earlier.settings()
    changed = []
    same = manifest.spec.get("model") == earlier.spec.get("model")
    same = same and all(own.get(name) == theirs.get(name) for name in _IN_REVISION)
    if same and manifest.revision != earlier.revision:
        changed.append(manifest.model_id)
    for name, sha in earlier.contents.items():
        if own.get(name) == theirs.get(name) and manifest.contents.get(name, sha) != sha:
            told = name.rpartition(".")[2].replace("_", " ")
            changed.append(f"the {told} {own.get(name) or 'of the model'}")
    if changed:
        message = f"{' and '.join(changed)} changed since the run of {earlier.created_at}"
        raise UsageError(message, hint=f"leave {named('spec')} out to analyse what is there now")
    versions = [
        f"{name} {earlier.versions.get(name)}"
        for name, version in manifest.versions.items()
        if earlier.versions.get(name) != version
    ]
    if versions:
        logger.warning("the run was made with %s: last digits may differ", ", ".join(versions))


def run_revision(model: Model, spec: RunSpec) -> str:
    """The model's in this mode, or one that says which of its weights were drawn anew."""
    revision = model.revision("weights" if spec.mode == "weights" else "data")
    if spec.randomize is None:
        return revision
    return randomized_revision(revision, spec.randomize, spec.seed)


def _remarks(model: Model, spec: RunSpec) -> dict[str, Any]:
    """What a reader of the numbers has to know of the model's config, code and weights.

    Warns where it is not known how weights that are drawn anew were initialised.
    """
    remarks: dict[str, Any] = {
        "equations": list(model.equations),
        "unknown_config_keys": list(model.unknown_keys),
    }
    if spec.randomize is not None:
        from spectrakit.architectures.untrained import initial_record

        remarks["initial"] = initial_record(model, spec.randomize)
    return {name: said for name, said in remarks.items() if said}
