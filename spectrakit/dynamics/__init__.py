"""The mathematics of linear recurrences, alone: no checkpoint, no model, no file is known here."""

from spectrakit.dynamics.eigenvalues import ContinuousEigenvalues, DiscreteEigenvalues, Domain
from spectrakit.dynamics.maps import (
    ConstantInput,
    ConstantOutput,
    Contraction,
    InputMap,
    OuterProduct,
    OutputMap,
    ScaledInput,
    ScaledOutput,
)
from spectrakit.dynamics.operators import (
    Dense,
    DiagonalDecay,
    ScalarDecay,
    SeparableDecay,
    TransitionOperator,
)
from spectrakit.dynamics.recurrence import Gauge, HeadAxis, Mode, Recurrence

__all__ = [
    "ConstantInput",
    "ConstantOutput",
    "ContinuousEigenvalues",
    "Contraction",
    "Dense",
    "DiagonalDecay",
    "DiscreteEigenvalues",
    "Domain",
    "Gauge",
    "HeadAxis",
    "InputMap",
    "Mode",
    "OuterProduct",
    "OutputMap",
    "Recurrence",
    "ScalarDecay",
    "ScaledInput",
    "ScaledOutput",
    "SeparableDecay",
    "TransitionOperator",
]
