"""Which runs may be compared, and which layer of one stands for which layer of another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spectrakit.errors import UsageError
from spectrakit.tables import LAYERS
from spectrakit.token_options import BUNDLED_TEXT, STANDARD_INPUT
from spectrakit.wording import named

if TYPE_CHECKING:
    from spectrakit.tables import Manifest, Run


@dataclass(frozen=True)
class LayerPair:
    """A layer of the first run, and the other run's layer at the nearest relative depth."""

    depth: float
    layer: int
    other: int


def check_comparable(runs: Sequence[Run]) -> None:
    """Raise UsageError for fewer than two runs, and for runs that say different things.

    That is where they were written to different schemas, or their models read different texts.
    """
    if len(runs) < 2:
        raise UsageError("one run alone has nothing to be compared with", hint="give two or more")
    first, *others = (run.manifest for run in runs)
    for other in others:
        if other.schema_version != first.schema_version:
            message = (
                f"the runs of {first.model_id} and {other.model_id} have tables of different "
                f"versions ({first.schema_version} and {other.schema_version})"
            )
            older = min(first, other, key=lambda manifest: manifest.schema_version)
            raise UsageError(message, hint=older.command or "analyse the older one again")
        texts = [_text(manifest) for manifest in (first, other)]
        if None not in texts and texts[0] != texts[1]:
            message = f"{first.model_id} and {other.model_id} were run on different texts"
            raise UsageError(message, hint=f"analyze both with the same {named('text')}")


def _text(manifest: Manifest) -> str | None:
    """What identifies the text of a run; None where it read none."""
    if manifest.mode == "weights" or not manifest.spec:
        return None
    settings = manifest.settings()
    for name in ("text", "tokens"):
        if settings.get(name) is not None:
            return manifest.contents.get(name) or STANDARD_INPUT
    return BUNDLED_TEXT


def layer_pairs(first: Run, other: Run) -> list[LayerPair]:
    """A pair for every analysed layer of `first`, in order.

    Layers are paired by relative depth among the analysed ones: one to one where both runs have as
    many, and with the nearest otherwise.
    """
    own, theirs = _analysed(first), _analysed(other)
    if not theirs:
        return []
    pairs = []
    for place, layer in enumerate(own):
        depth = place / (len(own) - 1) if len(own) > 1 else 0.0
        pairs.append(LayerPair(depth, layer, theirs[round(depth * (len(theirs) - 1))]))
    return pairs


def _analysed(run: Run) -> list[int]:
    rows = run.table(LAYERS.name).to_pylist()
    return sorted(row["layer"] for row in rows if row["status"] == "analysed")
