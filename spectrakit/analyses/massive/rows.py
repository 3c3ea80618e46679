"""The rows of the `massive` table, while batches go by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spectrakit._lazy import lazy_import

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor

    from spectrakit.representations.massive import Massive
else:
    np = lazy_import("numpy")
    torch = lazy_import("torch")

#: Tokens that are listed, at most: more of them are no exceptions.
_MOST_TOKENS = 4096


class MassiveFound:
    """Lists massive tokens, and adds up how massive coordinates are."""

    def __init__(self) -> None:
        self.sequences = 0
        self._judged = 0
        self._limits = (np.inf, np.inf)
        self._tokens: list[dict[str, Any]] = []
        #: By depth, (E,): sums of ratio and mean square over sequences, and of where it is massive.
        self._sums: list[np.ndarray] = []
        #: By width, (E,): sequences in which a coordinate is massive at some depth.
        self._votes: dict[int, Tensor] = {}

    def add(self, found: Massive, position: Tensor) -> None:
        """Take in a batch; position: tokens of its sequence before each token, (B, T)."""
        self._limits = found.limits
        self._list_tokens(found, position)
        sums = [
            torch.stack([ratio.sum(0), square.sum(0), (ratio > found.limits[1]).double().sum(0)])
            for ratio, square in zip(found.coordinate_ratios, found.squares, strict=True)
        ]
        self._add_sums([own.cpu().numpy() for own in sums])
        for width, here in found.coordinates.items():
            self._vote(width, here.sum(0).cpu())
        self._judged += int(found.judged.sum())
        self.sequences += len(position)

    def kept(self, width: int) -> Tensor:
        """The coordinates that are massive in fewer than half of the sequences: (E,) of bool."""
        votes = self._votes.get(width, torch.zeros(width, dtype=torch.long))
        kept: Tensor = ~self._of_most(votes)
        return kept

    def rows(self, analysis: str) -> dict[str, list[Any]] | None:
        """The columns of the table; None where nothing is massive."""
        rows = self._tokens[:_MOST_TOKENS]
        for depth, (ratio, square, massive) in enumerate(self._sums):
            for index in np.flatnonzero(self._of_most(massive)):
                rows.append({
                    "depth": depth, "kind": "coordinate", "sequence": None, "position": None,
                    "coordinate": int(index), "value": float(square[index] / self._judged),
                    "ratio": float(ratio[index] / self._judged), "limit": self._limits[1],
                    "sequences": int(massive[index]),
                })  # fmt: skip
        if not rows:
            return None
        rows.sort(key=lambda row: (row["depth"], row["kind"] == "coordinate", -row["ratio"]))
        columns = {name: [row[name] for row in rows] for name in rows[0]}
        return {"analysis": [analysis] * len(rows)} | columns

    def _of_most(self, votes: Any) -> Any:  # noqa: ANN401  (of numpy or torch)
        return (votes > 0) & (2 * votes >= self._judged)

    def _list_tokens(self, found: Massive, position: Tensor) -> None:
        for depth, (ratio, median) in enumerate(
            zip(found.token_ratios, found.medians, strict=True)
        ):
            for sequence, token in (ratio > found.limits[0]).nonzero().tolist():
                if len(self._tokens) >= _MOST_TOKENS:
                    return
                times = float(ratio[sequence, token])
                self._tokens.append({
                    "depth": depth, "kind": "token", "sequence": self.sequences + sequence,
                    "position": int(position[sequence, token]), "coordinate": None,
                    "value": times * float(median[sequence]), "ratio": times,
                    "limit": found.limits[0], "sequences": 1,
                })  # fmt: skip

    def _add_sums(self, sums: list[np.ndarray]) -> None:
        before = self._sums or [np.zeros_like(own) for own in sums]
        self._sums = [mine + own for mine, own in zip(before, sums, strict=True)]

    def _vote(self, width: int, votes: Tensor) -> None:
        before = self._votes.get(width)
        self._votes[width] = votes if before is None else before + votes
