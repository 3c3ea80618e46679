"""An entry of the catalog, and the family it belongs to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from spectrakit.catalog.places import folder


@dataclass(frozen=True)
class CatalogEntry:
    """One model of the catalog. None stands for what is not known.

    name: unique in the catalog. family: a `model_type` of transformers, or the name of an
    architecture. description: one line. source: what it is opened from, a Hub repository or, of a
    bundled one, a folder relative to the catalog. file: the path of its weight file, where the
    repository has several or no config. config: KEY=VALUE of what its files do not say. tokenizer:
    the repository of one, where the model has none of its own. license: an SPDX id, or the
    licence's name as published. parameters: their number. gated: whether the Hub asks to accept
    conditions first. weights_bytes: bytes of the tensors that weights mode reads. smallest: whether
    it is the smallest public one of its family. counterpart_of: names of entries that were trained
    on comparable data with other layers. page: the public page that names the repository;
    page_note: what of it is from elsewhere. own: whether it is the user's own entry.
    """

    name: str
    family: str
    description: str
    source: str
    origin: Literal["hub", "bundled"]
    tokenizer: str | None = None
    license: str | None = None
    format: str | None = None
    parameters: int | None = None
    gated: bool | None = None
    weights_bytes: int | None = None
    smallest: bool = False
    counterpart_of: tuple[str, ...] = ()
    page: str | None = None
    page_note: str | None = None
    own: bool = False
    file: str | None = None
    config: tuple[str, ...] = ()

    @property
    def repo(self) -> str | None:
        """The Hub repository, None for a bundled checkpoint."""
        return self.source if self.origin == "hub" else None

    @property
    def address(self) -> str:
        """What opens it, whatever else has its name: `hf://org/name`, with its file if any."""
        if self.repo is None:
            return self.name
        return f"hf://{self.repo}" + ("" if self.file is None else f"/{self.file}")

    @property
    def folder(self) -> Path | None:
        """The folder of a bundled checkpoint, None for one on the Hub."""
        return folder() / self.source if self.origin == "bundled" else None


@dataclass(frozen=True)
class Family:
    """The entries of one family, in their file's order.

    no_public_model: why there is no public model of it, where there is none.
    """

    name: str
    entries: tuple[CatalogEntry, ...]
    no_public_model: str | None = None
