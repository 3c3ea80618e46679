"""The rows of the `probe` table: what was told right, with intervals, in all and by position."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spectrakit._lazy import lazy_import
from spectrakit.representations.proportions import interval

if TYPE_CHECKING:
    import numpy as np

    from spectrakit.prompt_sets import Prompt
    from spectrakit.representations.probing import HeldOut
else:
    np = lazy_import("numpy")


@dataclass(frozen=True)
class Asked:
    """Prompts in the order of their states, and what the model itself chose.

    chosen: None for what is not known, and altogether for a model without a language head.
    """

    prompts: Sequence[Prompt]
    chosen: Sequence[bool | None] | None

    @property
    def sources(self) -> np.ndarray:
        """The source of each prompt: (n,)."""
        return np.array([prompt.source for prompt in self.prompts])

    def labels(self, target: str) -> np.ndarray:
        """What is to be told of each prompt."""
        return np.array([prompt.labels[target] for prompt in self.prompts])

    def subsets(self) -> Iterator[tuple[int | None, np.ndarray]]:
        """All prompts, under None, and those of each gold position: (n,) of bool."""
        positions = np.array([prompt.position for prompt in self.prompts])
        yield None, np.ones(len(positions), bool)
        for position in np.unique(positions):
            yield int(position), positions == position


def probe_rows(asked: Asked, target: str, found: HeldOut | str) -> list[dict[str, Any]]:
    """A row for all gold positions, and one for each. found: of one depth, or why there is none."""
    labels = asked.labels(target)
    counts = np.unique(labels, return_counts=True)[1]
    return [
        {
            "target": target,
            "gold_position": position,
            "chance": counts.max() / counts.sum(),
            "items": asked.prompts[int(chosen.argmax())].items,
            "prompts": int(chosen.sum()),
            "sources": len(np.unique(asked.sources[chosen])),
            **_told(found, chosen, asked.sources),
            **_answered(asked, chosen),
        }
        for position, chosen in asked.subsets()
    ]


def _told(found: HeldOut | str, chosen: np.ndarray, sources: np.ndarray) -> dict[str, Any]:
    if isinstance(found, str):
        return {"reason": found}
    return _share("accuracy", found.right[chosen], sources[chosen]) | {
        "shuffled_accuracy": found.control[chosen].mean()
    }


def _answered(asked: Asked, chosen: np.ndarray) -> dict[str, Any]:
    if asked.chosen is None:
        return {"model_reason": "no_head"}
    known = chosen & np.array([choice is not None for choice in asked.chosen])
    if not known.any():
        return {"model_reason": "no_candidates"}
    right = np.array([bool(choice) for choice in asked.chosen])
    return _share("model_accuracy", right[known], asked.sources[known])


def _share(name: str, right: np.ndarray, sources: np.ndarray) -> dict[str, Any]:
    low, high = interval(right, sources)
    return {name: right.mean(), f"{name}_low": low, f"{name}_high": high}
