"""What belongs to a checkpoint and is not in it: small files of the Hub, as the user wants it used.

A tokenizer, say, which may be of another repository.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from spectrakit.checkpoints.hub_opening import fetch_file

if TYPE_CHECKING:
    from pathlib import Path

    from spectrakit.checkpoints.checkpoint import Checkpoint
    from spectrakit.checkpoints.in_memory import TensorsInMemory


@dataclass(frozen=True)
class HubAccess:
    """How the user wants the Hub to be used; None leaves it to the environment."""

    cache_dir: Path | None = None
    token: str | None = field(default=None, repr=False)
    offline: bool | None = None

    def keywords(self) -> dict[str, str | bool]:
        """What was said of it, as keywords of `open_checkpoint` and JSON values."""
        said = {"cache_dir": self.cache_dir, "token": self.token, "offline": self.offline}
        return {
            name: value if isinstance(value, bool) else str(value)
            for name, value in said.items()
            if value is not None
        }

    def fetch_file(self, repo_id: str, filename: str) -> Path | None:
        """A small file of a Hub repository: see `spectrakit.checkpoints.fetch_file`."""
        return fetch_file(
            repo_id,
            filename,
            cache_dir=self.cache_dir,
            token=self.token,
            offline=self.offline,
        )


class Opened(Protocol):
    """A checkpoint, and how the Hub is used for what belongs to it; a `Model` is one."""

    @property
    def checkpoint(self) -> Checkpoint | TensorsInMemory:
        """What was opened."""

    @property
    def hub(self) -> HubAccess:
        """How it was."""
