"""A checkpoint whose tensors are made of those of another one, its base, when they are read."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from spectrakit.checkpoints.checkpoint import Checkpoint, Identity
from spectrakit.checkpoints.described import Described

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    import torch

    from spectrakit.checkpoints.entries import CheckpointFile, TensorEntry


class OverBase(Checkpoint):
    """A checkpoint over `base`; what it does not say itself is the base's."""

    def __init__(
        self,
        identity: Identity,
        base: Checkpoint,
        tensors: Mapping[str, TensorEntry],
        config: Mapping[str, Any],
    ) -> None:
        """tensors: of the whole, by name. Use `open_checkpoint`."""
        Described.__init__(self, identity.model_id, config)
        self.source = identity.source
        self.origin = identity.origin
        self.part = identity.part
        self.tensors = tensors
        self.tokenizer = base.tokenizer
        self.files = base.files
        self.base = base
        self._identity = identity
        self._stored = tensors
        self._names: Mapping[str, str] = {}

    @abstractmethod
    def _of_base(self, names: Sequence[str]) -> list[str]:
        """The base's tensors that those called `names` here are made of."""

    @abstractmethod
    def _made(self, names: Sequence[str]) -> dict[str, torch.Tensor]:
        """The tensors called `names` here."""

    @abstractmethod
    def _over(self, base: Checkpoint) -> Checkpoint:
        """The same over a copy of the base on this disk, which `open_checkpoint` made."""

    @property
    def bytes_read(self) -> int:
        """The base's."""
        return self.base.bytes_read

    @property
    def remote_files(self) -> tuple[CheckpointFile, ...]:
        """The base's."""
        return self.base.remote_files

    @property
    def requests(self) -> int:
        """The base's."""
        return self.base.requests

    def revision_of(self, names: Iterable[str] | None) -> str:
        """The base's, as far as the tensors tell that those are made of."""
        return self.base.revision_of(None if names is None else self._of_base(self._own(names)))

    @property
    def commit(self) -> str | None:
        """The base's."""
        return self.base.commit

    @property
    def headers_fingerprint(self) -> str:
        """The base's."""
        return self.base.headers_fingerprint

    def read(self, names: Iterable[str]) -> dict[str, torch.Tensor]:
        """The tensors `names`, made of the base's. Raises what reading those does."""
        names = list(dict.fromkeys(names))
        self._check_there(names)
        made = self._made(self._own(names))
        return {name: made[self._names.get(name, name)] for name in names}

    def cost(self, names: Iterable[str]) -> int:
        """Bytes that `read(names)` would move."""
        return self.base.cost(self._of_base(self._own(names)))

    def file_path(self, filename: str) -> Path | None:
        """The base's."""
        return self.base.file_path(filename)

    def localize(self) -> Checkpoint:
        """With the base's files on this disk."""
        base = self.base.localize()
        if base is self.base:
            return self
        local = self._over(base)
        local.configure(self.given)
        if self._names:
            local.rename(self._names)
        return local

    def close(self) -> None:
        """Close the base."""
        self.base.close()

    def _own(self, names: Iterable[str]) -> list[str]:
        """What `names` are called before `rename`."""
        return [self._names.get(name, name) for name in names]
