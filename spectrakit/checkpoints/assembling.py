"""From a store of files to a checkpoint: config, weight files, tensor index."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spectrakit.checkpoints.checkpoint import Checkpoint, Identity
from spectrakit.checkpoints.fingerprint import LocalContent
from spectrakit.checkpoints.mlx.restoring import restored
from spectrakit.checkpoints.shards import weight_files
from spectrakit.checkpoints.stores import Store, parse_json
from spectrakit.checkpoints.weights import described_by, merge, open_weights

if TYPE_CHECKING:
    from collections.abc import Callable

    from spectrakit.progress import Progress

#: What a model's hyperparameters are called; Mistral's own format has the second.
CONFIGS = ("config.json", "params.json")


def assemble(
    store: Store,
    identity: Identity,
    progress: Progress,
    *,
    localized: Callable[[], Checkpoint] | None = None,
) -> Checkpoint:
    """Open the weights of `store`, or the one file of it, with the config beside them.

    Raises `UnsupportedError` without weights, `MalformedError` for damaged files.
    """
    config, config_bytes = _config(store)
    chosen = weight_files(store, store.only)
    weights = open_weights(store, chosen)
    try:
        tensors = merge(weights, chosen)
        own = described_by(weights)
        content = LocalContent(store, config_bytes, chosen.placed, tuple(weights))
        checkpoint = Checkpoint(
            identity,
            content,
            config=config if own is None else own,
            store=store,
            weights=weights,
            tensors=tensors,
            progress=progress,
            localized=localized,
        )
        return restored(checkpoint, identity)
    except BaseException:
        for weight_file in weights:
            weight_file.source.close()
        raise


def _config(store: Store) -> tuple[dict[str, Any], bytes]:
    names = store.names()
    for name in CONFIGS:
        if name in names:
            data = store.read_small(name)
            return parse_json(data, f"{store.label}: {name}"), data
    return {}, b""
