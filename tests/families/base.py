"""A family as a tiny random model, and one forward pass over it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from spectrakit.architectures.transformers_model import quiet_transformers

if TYPE_CHECKING:
    import spectrakit as sk
    from spectrakit.architectures import Layer
    from spectrakit.mixers import Observation

VOCABULARY = 61


@dataclass(frozen=True)
class Family:
    """A `model_type` of transformers at a size that runs in a blink.

    config: keys for its config class. kinds: what the layers are, in order. tokens: how long the
    sequences are (longer than any window or chunk of the config). name: of the case, where one
    model type has several.
    """

    model_type: str
    kinds: tuple[str, ...]
    config: dict[str, Any] = field(default_factory=dict)
    tokens: int = 24
    name: str = ""

    def __str__(self) -> str:
        return self.name or self.model_type

    def write(self, folder: Path) -> Path:
        """Save the model as transformers does; its weights are far from their initial values."""
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
        return folder

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
