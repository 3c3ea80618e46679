"""A form that people's checkpoints have: how one is made, and what is made of it here."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from spectrakit.architectures.transformers_model import quiet_transformers

ROOT = Path(__file__).resolve().parents[2]
_CHECKPOINTS = ROOT / "catalog" / "checkpoints"
#: What the tests and this table are made with: everyone's versions, then those of this folder.
_PINS = (ROOT / "constraints.txt", Path(__file__).with_name("requirements.txt"))
_PIN = re.compile(r"^([\w.-]+)==(\S+)$", re.MULTILINE)


@dataclass(frozen=True)
class Original:
    """The model that a form is made of, as transformers wrote it."""

    folder: Path

    @property
    def config(self) -> dict[str, Any]:
        """Its config.json."""
        return json.loads((self.folder / "config.json").read_text())

    @property
    def tensors(self) -> dict[str, torch.Tensor]:
        """By their names in the file."""
        return load_file(self.folder / "model.safetensors")

    def module(self) -> torch.nn.Module:
        """The live model of transformers."""
        from transformers import AutoModelForCausalLM

        with quiet_transformers():
            return AutoModelForCausalLM.from_pretrained(self.folder)

    def save_with(self, folder: Path, tensors: dict[str, torch.Tensor]) -> Path:
        """The same model with other weights."""
        model = self.module()
        tied = {"lm_head.weight": tensors["backbone.embeddings.weight"]}
        model.load_state_dict(tensors | tied)
        model.save_pretrained(folder)
        return folder

    def write_config(self, folder: Path) -> None:
        """Put the config beside what is in `folder`."""
        (folder / "config.json").write_text(json.dumps(self.config))


MAMBA = Original(_CHECKPOINTS / "tiny-mamba")
MAMBA2 = Original(_CHECKPOINTS / "tiny-mamba2")


@dataclass(frozen=True)
class Made:
    """What a maker gives: the name to open, and the folder of the model that it should equal.

    like: None for the original.
    """

    name: str | Path
    like: Path | None = None


#: Makes the form in an empty folder.
Maker = Callable[[Path, Original], Made | Path]


@dataclass(frozen=True)
class Form:
    """One row of the table of forms in docs/coverage.md; `test_forms.py` holds it to every word.

    name: as users say it. says: a phrase that `inspect` prints, or its error. library: makes it
    with the packages that are named; written: writes the same layout without them, for tests where
    they are not installed. refused: whether it is not read at all (`says` is then of the error).
    no_data: a phrase of the error of data mode; None where its outputs are those of the original.
    without: the package that is missing where data mode says so; "" where it always does.
    options: of `open_checkpoint`, without which it is refused, in the words `says`.
    tolerance: relative, of eigenvalues and of outputs. way_out: what the line of Python in the hint
    of the refusal writes, which is read, and is the model.
    """

    name: str
    says: str
    library: Maker | None = None
    packages: tuple[str, ...] = ()
    written: Maker | None = None
    original: Original = MAMBA
    refused: bool = False
    no_data: str | None = None
    without: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    tolerance: float = 0.0
    way_out: str | None = None

    def __str__(self) -> str:
        return self.name

    @property
    def makers(self) -> dict[str, Maker]:
        """By "library" and "written"."""
        both = {"library": self.library, "written": self.written}
        return {way: maker for way, maker in both.items() if maker is not None}

    @property
    def made_by(self) -> str:
        """The packages, at the versions of the pins; or that the layout is written."""
        if self.library is None:
            return "written layout"
        return ", ".join(f"{package} {pins()[package]}" for package in self.packages)


@cache
def pins() -> dict[str, str]:
    """The version of every package that a form may be made with."""
    return {name: version for file in _PINS for name, version in _PIN.findall(file.read_text())}


def everyone_has(package: str) -> bool:
    """Whether the test group installs it."""
    return package in dict(_PIN.findall(_PINS[0].read_text()))


def saved(value: object, path: Path, **options: Any) -> Path:
    """What `torch.save` writes, in folders that are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(value, path, **options)
    return path
