"""A family as a tiny random model, and one forward pass over it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from spectrakit.architectures.transformers_model import quiet_transformers
from spectrakit.plugins import plugins
from spectrakit.testing import CheckpointExample

if TYPE_CHECKING:
    import spectrakit as sk
    from spectrakit.architectures import Layer
    from spectrakit.mixers import Observation

VOCABULARY = 61

#: Files of the families that were saved already: making a model takes longer than writing it.
_SAVED: dict[str, dict[str, bytes]] = {}


@dataclass(frozen=True)
class Family:
    """A `model_type` of transformers at a size that runs in a blink.

    config: keys for its config class. kinds: what the layers are, in order. tokens: how long the
    sequences are (longer than any window or chunk of the config). name: of the case, where one
    model type has several. expected_failures: reasons, by the name of a check of the kit.
    published: makes transformers' own model the published one, where the two differ.
    """

    model_type: str
    kinds: tuple[str, ...]
    config: dict[str, Any] = field(default_factory=dict)
    tokens: int = 24
    name: str = ""
    expected_failures: Mapping[str, str] = field(default_factory=dict)
    published: Callable[[torch.nn.Module], None] | None = None

    def __str__(self) -> str:
        return self.name or self.model_type

    def example(self) -> CheckpointExample:
        """What the conformance kit checks."""
        (reader,) = (
            name
            for name, entry in plugins().register().architectures.things.items()
            if self.model_type in getattr(entry.thing, "model_types", ())
        )
        return CheckpointExample(
            str(self), reader, self.kinds, self.write, self.token_ids(), self.expected_failures
        )

    def write(self, folder: Path) -> Path:
        """Save the model as transformers does; its weights are far from their initial values."""
        if repr(self) not in _SAVED:
            self._save(folder)
            _SAVED[repr(self)] = {path.name: path.read_bytes() for path in folder.iterdir()}
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in _SAVED[repr(self)].items():
            (folder / name).write_bytes(content)
        return folder

    def _save(self, folder: Path) -> None:
        from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_MAPPING, AutoConfig

        torch.manual_seed(0)
        with quiet_transformers():
            config = AutoConfig.for_model(self.model_type, vocab_size=VOCABULARY, **self.config)
            bare = type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING  # a text model without a head
            classes = MODEL_MAPPING if bare else MODEL_FOR_CAUSAL_LM_MAPPING
            model = classes[type(config)](config).eval().float()
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter += 0.1 * torch.randn_like(parameter)
            model.save_pretrained(folder)

    def token_ids(self, batch: int = 2) -> torch.Tensor:
        """Random token ids, (batch, tokens)."""
        generator = torch.Generator().manual_seed(1)
        return torch.randint(3, VOCABULARY, (batch, self.tokens), generator=generator)


def observe(
    model: sk.Model, tokens: torch.Tensor, valid: torch.Tensor | None = None
) -> list[tuple[Layer, Observation]]:
    """Every layer as one forward pass shows it."""
    runnable = model.architecture.load(model.checkpoint, "cpu")
    seen: list[tuple[Layer, Observation]] = []
    runnable.run(tokens, lambda layer, observation: seen.append((layer, observation)), valid)
    return seen
