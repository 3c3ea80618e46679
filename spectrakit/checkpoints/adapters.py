"""A PEFT adapter and its base model as one checkpoint, merged in memory when tensors are read."""

from __future__ import annotations

import hashlib
import logging
from typing import TYPE_CHECKING

from spectrakit.checkpoints.assembling import assemble
from spectrakit.checkpoints.lora import changes
from spectrakit.checkpoints.over_base import OverBase
from spectrakit.checkpoints.stores import LocalFolder, parse_json
from spectrakit.errors import NetworkError, SpectrakitError, UnsupportedError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    import torch

    from spectrakit.checkpoints.checkpoint import Checkpoint, Identity
    from spectrakit.checkpoints.lora import Change
    from spectrakit.progress import Progress

ADAPTER_CONFIG = "adapter_config.json"
_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")

logger = logging.getLogger("spectrakit")


def is_adapter(folder: Path) -> bool:
    """Whether `folder` holds an adapter and no model of its own."""
    return (folder / ADAPTER_CONFIG).is_file() and not (folder / "config.json").is_file()


def open_adapter(
    folder: Path, progress: Progress, identity: Identity, opener: Callable[[str], Checkpoint]
) -> AdaptedCheckpoint:
    """The adapter in `folder` over its base model, which `opener` opens by its name.

    Raises `UsageError` (`NetworkError`) where the base cannot be opened, `UnsupportedError` for an
    adapter that is not merged here, and without weights.
    """
    store = LocalFolder(folder)
    config = parse_json(store.read_small(ADAPTER_CONFIG), f"{folder}: {ADAPTER_CONFIG}")
    file = next((name for name in _WEIGHTS if (folder / name).is_file()), None)
    if file is None:
        raise UnsupportedError(f"{folder} is a PEFT adapter without weights ({_WEIGHTS[0]})")
    base = _base(folder, config.get("base_model_name_or_path"), opener)
    adapter = None
    try:
        adapter = assemble(LocalFolder(folder, only=file), identity, progress, only=file)
        made = changes(config, adapter.tensors, base.tensors, str(folder))
    except BaseException:
        base.close()
        if adapter is not None:
            adapter.close()
        raise
    logger.info("%s is a PEFT adapter: analysed merged into its base, %s", folder, base.model_id)
    if any(".dt_proj." in name for name in made):
        logger.info(
            "its LoRA of dt_proj counts here; in PEFT's unmerged forward pass of Mamba it has no"
            " effect, since Mamba reads dt_proj.weight itself"
        )
    return AdaptedCheckpoint(identity, base, adapter, made)


def _base(folder: Path, name: object, opener: Callable[[str], Checkpoint]) -> Checkpoint:
    key = f"base_model_name_or_path of {folder / ADAPTER_CONFIG}"
    if not isinstance(name, str) or not name:
        raise UsageError(
            f"{folder} is a PEFT adapter, and {ADAPTER_CONFIG} names no base model",
            hint=f"put the base model's folder or repository into {key}",
        )
    try:
        return opener(name)
    except SpectrakitError as error:
        kind = NetworkError if isinstance(error, NetworkError) else UsageError
        raise kind(
            f"{folder} is a PEFT adapter of {name}, which cannot be opened: {error.message}",
            hint=f"put the base model's folder or repository into {key}",
        ) from error


class AdaptedCheckpoint(OverBase):
    """The base's tensors under their names, those that the adapter changes as merged."""

    def __init__(
        self,
        identity: Identity,
        base: Checkpoint,
        adapter: Checkpoint,
        made: Mapping[str, Change],
    ) -> None:
        """Use `open_checkpoint`."""
        super().__init__(identity, base, base.tensors, base.config)
        self.files = (*base.files, *adapter.files)
        self.changed = frozenset(made)
        self._adapter = adapter
        self._changes = made

    @property
    def bytes_read(self) -> int:
        """Of both."""
        return self.base.bytes_read + self._adapter.bytes_read

    @property
    def requests(self) -> int:
        """Of both."""
        return self.base.requests + self._adapter.requests

    def revision_of(self, names: Iterable[str] | None) -> str:
        """A name for both contents: `local-<12 hex>` of the base's revision and the adapter's."""
        both = f"{super().revision_of(names)} {self._adapter.revision_of(None)}"
        return f"local-{hashlib.sha256(both.encode()).hexdigest()[:12]}"

    @property
    def headers_fingerprint(self) -> str:
        """Of both."""
        both = f"{self.base.headers_fingerprint} {self._adapter.headers_fingerprint}"
        return f"headers-{hashlib.sha256(both.encode()).hexdigest()[:12]}"

    def cost(self, names: Iterable[str]) -> int:
        """Of both."""
        names = list(names)
        return super().cost(names) + self._adapter.cost(self._of_adapter(self._own(names)))

    def file_path(self, filename: str) -> Path | None:
        """The adapter's, where it has one, else the base's."""
        return self._adapter.file_path(filename) or self.base.file_path(filename)

    def close(self) -> None:
        """Close both."""
        self.base.close()
        self._adapter.close()

    def _of_base(self, names: Sequence[str]) -> list[str]:
        return list(names)

    def _made(self, names: Sequence[str]) -> dict[str, torch.Tensor]:
        """Merged, in the base's dtypes."""
        read = self.base.read(names)
        adapter = self._adapter.read(self._of_adapter(read))
        return {
            name: self._changes[name].merged(tensor, adapter) if name in self._changes else tensor
            for name, tensor in read.items()
        }

    def _over(self, base: Checkpoint) -> AdaptedCheckpoint:
        return AdaptedCheckpoint(self._identity, base, self._adapter, self._changes)

    def _of_adapter(self, names: Iterable[str]) -> list[str]:
        changes = self._changes
        return [own for name in names if name in changes for own in changes[name].names]
