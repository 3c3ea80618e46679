"""The mathematics of linear recurrences, alone: no checkpoint, no model, no file is known here."""

from spectrakit.dynamics.eigenvalues import ContinuousEigenvalues, DiscreteEigenvalues, Domain
from spectrakit.dynamics.maps import Contraction, OuterProduct
from spectrakit.dynamics.operators import (
    Dense,
    DiagonalDecay,
    ScalarDecay,
    SeparableDecay,
    TransitionOperator,
)
from spectrakit.dynamics.recurrence import HeadAxis, Mode, Recurrence

__all__ = [
    "ContinuousEigenvalues",
    "Contraction",
    "Dense",
    "DiagonalDecay",
    "DiscreteEigenvalues",
    "Domain",
    "HeadAxis",
    "Mode",
    "OuterProduct",
    "Recurrence",
    "ScalarDecay",
    "SeparableDecay",
    "TransitionOperator",
]
