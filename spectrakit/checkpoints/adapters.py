"""A PEFT adapter and its base model as one checkpoint, merged in memory when tensors are read."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn, TypeAlias

from spectrakit.catalog.repo_ids import is_repo_id
from spectrakit.checkpoints.assembling import assemble
from spectrakit.checkpoints.checkpoint import Checkpoint
from spectrakit.checkpoints.lora import changes
from spectrakit.checkpoints.over_base import OverBase
from spectrakit.checkpoints.parts import HUB_SCHEME, Part
from spectrakit.checkpoints.stores import parse_json
from spectrakit.errors import NetworkError, SpectrakitError, UnsupportedError, UsageError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from pathlib import Path

    import torch

    from spectrakit.checkpoints.checkpoint import Identity
    from spectrakit.checkpoints.entries import CheckpointFile
    from spectrakit.checkpoints.lora import Change
    from spectrakit.checkpoints.stores import Store
    from spectrakit.progress import Progress

ADAPTER_CONFIG = "adapter_config.json"
#: Its weights, the first that is there.
ADAPTER_FILES = ("adapter_model.safetensors", "adapter_model.bin")

logger = logging.getLogger("spectrakit")


#: Opens the base model that an adapter names, at a revision.
BaseOpener: TypeAlias = Callable[[str, str | None], Checkpoint]


def is_adapter(names: Collection[str]) -> bool:
    """Whether a folder with files of these names holds an adapter and no model of its own."""
    return ADAPTER_CONFIG in names and "config.json" not in names


def refuse_as_base(label: str) -> BaseOpener:
    """Opens no base: the adapter `label` is to be one itself, and may lead round in a circle."""

    def refuse(name: str, revision: str | None) -> NoReturn:  # noqa: ARG001
        message = f"{label} is a PEFT adapter itself, and is to be the base of one"
        raise UnsupportedError(message, hint="merge the base first: PEFT's merge_and_unload")

    return refuse


def open_adapter(
    store: Store, progress: Progress, identity: Identity, opener: BaseOpener
) -> AdaptedCheckpoint:
    """The adapter in `store` over its base model, which `opener` opens by its name.

    An adapter of the Hub has its base there. Raises `UsageError` (`NetworkError`) where the base
    cannot be opened, `UnsupportedError` for an adapter that is not merged here, and without
    weights.
    """
    label = store.label
    config = parse_json(store.read_small(ADAPTER_CONFIG), f"{label}: {ADAPTER_CONFIG}")
    file = next((name for name in ADAPTER_FILES if name in store.own_names()), None)
    if file is None:
        raise UnsupportedError(f"{label} is a PEFT adapter without weights ({ADAPTER_FILES[0]})")
    base = _base(label, config, opener, on_hub=identity.origin == "hub")
    adapter = None
    try:
        adapter = assemble(store.at(Part(file)), identity, progress)
        made = changes(config, adapter.tensors, base.tensors, label)
    except BaseException:
        base.close()
        if adapter is not None:
            adapter.close()
        raise
    logger.info("%s is a PEFT adapter: analysed merged into its base, %s", label, base.model_id)
    if any(".dt_proj." in name for name in made):
        logger.info(
            "its LoRA of dt_proj counts here; in PEFT's unmerged forward pass of Mamba it has no"
            " effect, since Mamba reads dt_proj.weight itself"
        )
    return AdaptedCheckpoint(identity, base, adapter, made)


def _base(
    label: str, config: Mapping[str, object], opener: BaseOpener, *, on_hub: bool
) -> Checkpoint:
    name, revision = config.get("base_model_name_or_path"), config.get("revision")
    hint = "put the base model's folder or repository into base_model_name_or_path of "
    hint += f"a copy of {ADAPTER_CONFIG}" if on_hub else f"{label}/{ADAPTER_CONFIG}"
    if not isinstance(name, str) or not name:
        message = f"{label} is a PEFT adapter, and {ADAPTER_CONFIG} names no base model"
        raise UsageError(message, hint=hint)
    try:
        if on_hub and not is_repo_id(name):  # a folder of whoever trained it, say
            raise UsageError("the Hub has no repository of such a name")
        at = revision if isinstance(revision, str) and revision else None
        return opener(f"{HUB_SCHEME}{name}" if on_hub else name, at)
    except SpectrakitError as error:
        kind = NetworkError if isinstance(error, NetworkError) else UsageError
        raise kind(
            f"{label} is a PEFT adapter of {name}, which cannot be opened: {error.message}",
            hint=hint,
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
    def remote_files(self) -> tuple[CheckpointFile, ...]:
        """Of both."""
        return (*self.base.remote_files, *self._adapter.remote_files)

    @property
    def requests(self) -> int:
        """Of both."""
        return self.base.requests + self._adapter.requests

    def revision_of(self, names: Iterable[str] | None) -> str:
        """A name for both contents: `local-<12 hex>` of the base's revision and the adapter's.

        `hub-<12 hex>` where the adapter is on the Hub, at the commit `commit`.
        """
        both = f"{super().revision_of(names)} {self._adapter.revision_of(None)}"
        digest = hashlib.sha256(both.encode()).hexdigest()[:12]
        return f"{'local' if self.commit is None else 'hub'}-{digest}"

    @property
    def commit(self) -> str | None:
        """The adapter's."""
        return self._adapter.commit

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
