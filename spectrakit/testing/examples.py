"""What checks are run on: a mixer with an input, a tiny checkpoint, or an analysis with a model."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from spectrakit._lazy import lazy_import

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from spectrakit.mixers import Mixer, Parameters
else:
    torch = lazy_import("torch")

#: Shorter sequences could not be cut into pieces, smaller batches not be put in another order.
_LEAST_BATCH, _LEAST_TOKENS = 2, 8


@dataclass(frozen=True)
class MixerExample:
    """A mixer whose equations can be run without a model around it.

    name: of the subject, unique in the plugin. mixer: with small sizes that all differ, so that no
    two axes can be taken for each other. parameters: by role, in float64.
    hidden: what it is run on, in float64: its input (B, T, model width) where it has `from_input`,
    otherwise what drives its static recurrence, (B, T, H, P).
    reference: the layer written another way (as a convolution, over all pairs of tokens, as its
    authors' own module), from `hidden` and the parameters to the layer's output.
    expected_failures: reasons, by the name of the check that is known to fail.

    Raises ValueError where `hidden` is too small for the checks.
    """

    name: str
    mixer: Mixer
    parameters: Parameters
    hidden: Tensor
    reference: Callable[[Tensor, Parameters], Tensor]
    expected_failures: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_size(self.name, self.hidden)


@dataclass(frozen=True)
class CheckpointExample:
    """A tiny checkpoint that a registered architecture reads.

    name: of the subject, unique in the plugin. architecture: the name of the one that reads it.
    kinds: of its layers, in the order they run. write: writes it into an empty folder and returns
    what a user would open, that folder or a file in it. Its random weights should be far from
    their initial values: zeros and ones hide mistakes.
    tokens: (B, T) of token ids to run it on, more than any window or chunk of its config; None
    where the architecture cannot run it, and data mode is not checked then.
    expected_failures: reasons, by the name of the check that is known to fail.

    Raises ValueError where `tokens` are too few for the checks.
    """

    name: str
    architecture: str
    kinds: tuple[str, ...]
    write: Callable[[Path], Path]
    tokens: Tensor | None = None
    expected_failures: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.tokens is not None:
            _check_size(self.name, self.tokens)


@dataclass(frozen=True)
class AnalysisExample:
    """A registered analysis, and a run of it.

    name: of the subject, unique in the plugin. analysis: its name. model: what it is run on, by a
    name that `open_checkpoint` takes, or a function that writes a checkpoint into an empty folder
    and returns what a user would open. settings: how it is run, as keywords of
    `spectrakit.analyze`; its options among them.
    expected_failures: reasons, by the name of the check that is known to fail.
    """

    name: str
    analysis: str
    model: str | Callable[[Path], Path] = "tiny-mamba"
    settings: Mapping[str, Any] = field(default_factory=dict)
    expected_failures: Mapping[str, str] = field(default_factory=dict)


Example: TypeAlias = MixerExample | CheckpointExample | AnalysisExample


def _check_size(name: str, inputs: Tensor) -> None:
    if inputs.dim() < 2 or inputs.shape[0] < _LEAST_BATCH or inputs.shape[1] < _LEAST_TOKENS:
        message = (
            f"example {name!r} has inputs of shape {list(inputs.shape)}; the checks need at least "
            f"{_LEAST_BATCH} sequences of {_LEAST_TOKENS} tokens"
        )
        raise ValueError(message)


def random_parameters(mixer: Mixer, seed: int = 0) -> dict[str, Tensor]:
    """Normal parameters for `mixer`, by role, in float64; a matrix keeps the size of its input."""
    generator = torch.Generator().manual_seed(seed)
    return {
        role: torch.randn(shape, generator=generator, dtype=torch.float64)
        / (math.sqrt(shape[-1]) if len(shape) > 1 else 1)
        for role, shape in mixer.shapes().items()
    }
