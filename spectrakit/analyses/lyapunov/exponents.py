"""The Lyapunov exponents of a layer, from the stored table."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa


class LayerExponents(NamedTuple):
    """The Lyapunov exponents of a layer, per step.

    Of those that are finite, where there are any. timescale: of the largest, in steps. mean: of
    all, as often as they occur. erased: the share of singular values that are exactly zero, over
    all sequences. observed: whether they are means over tokens; else they are log|lambda|. gauge:
    of the state that they are of.
    """

    layer: int
    largest: float
    mean: float
    smallest: float
    timescale: float
    erased: float
    observed: bool
    gauge: str


def layer_exponents(lyapunov: pa.Table) -> list[LayerExponents]:
    """Of every layer in a `lyapunov` table, in their order."""
    layers = lyapunov["layer"].to_numpy()
    found = []
    for layer in np.unique(layers):
        part = lyapunov.filter(layers == layer)
        exponents, copies, timescale = (
            part[name].to_numpy() for name in ("exponent", "multiplicity", "timescale_steps")
        )
        share = _erased_share(part, exponents)
        erased = float((share * copies).sum() / copies.sum())
        if (finite := np.isfinite(exponents)).any():
            exponents, timescale = exponents[finite], timescale[finite]
            copies = (copies * (1 - share))[finite]
        found.append(
            LayerExponents(
                int(layer),
                largest=float(exponents.max()),
                mean=float((exponents * copies).sum() / copies.sum()),
                smallest=float(exponents.min()),
                timescale=float(timescale[exponents.argmax()]),
                erased=erased,
                observed=part["tokens"].null_count == 0,
                gauge=part["gauge"][0].as_py(),
            )
        )
    return found


def _erased_share(part: pa.Table, exponents: np.ndarray) -> np.ndarray:
    """Of each row, the share of the sequences in which the exponent is -inf."""
    # Of runs written by an earlier version, whose tables do not say.
    counted = "erased" in part.column_names
    if part["tokens"].null_count or not counted:
        return np.isneginf(exponents).astype(float)
    share: np.ndarray = part["erased"].to_numpy() / part["sequences"].to_numpy()
    return share
