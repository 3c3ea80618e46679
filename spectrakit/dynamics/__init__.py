"""The mathematics of linear recurrences, alone: no checkpoint, no model, no file is known here."""

from spectrakit.dynamics.delta import DeltaRule
from spectrakit.dynamics.delta_product import DeltaProduct
from spectrakit.dynamics.diagonal_plus_low_rank import DiagonalPlusLowRank
from spectrakit.dynamics.diagonal_plus_rank_one import DiagonalPlusRankOne
from spectrakit.dynamics.eigenvalues import ContinuousEigenvalues, DiscreteEigenvalues, Domain
from spectrakit.dynamics.lyapunov import LyapunovExponents, LyapunovSum
from spectrakit.dynamics.maps import (
    ConstantInput,
    ConstantOutput,
    Contraction,
    InputMap,
    OuterProduct,
    OuterProducts,
    OutputMap,
    ScaledInput,
    ScaledOutput,
)
from spectrakit.dynamics.operator_parts import (
    heads_of,
    heads_of_each_tensor,
    in_double,
    sequence_of,
    sequence_of_each_tensor,
)
from spectrakit.dynamics.operators import (
    Dense,
    DiagonalDecay,
    ScalarDecay,
    SeparableDecay,
    TransitionOperator,
    UnknownOperatorError,
)
from spectrakit.dynamics.poles import Poles, poles_of
from spectrakit.dynamics.recurrence import Gauge, HeadAxis, Mode, Recurrence
from spectrakit.dynamics.rotated_decay import RotatedDecay
from spectrakit.dynamics.shift import ShiftRegister

__all__ = [
    "ConstantInput",
    "ConstantOutput",
    "ContinuousEigenvalues",
    "Contraction",
    "DeltaProduct",
    "DeltaRule",
    "Dense",
    "DiagonalDecay",
    "DiagonalPlusLowRank",
    "DiagonalPlusRankOne",
    "DiscreteEigenvalues",
    "Domain",
    "Gauge",
    "HeadAxis",
    "InputMap",
    "LyapunovExponents",
    "LyapunovSum",
    "Mode",
    "OuterProduct",
    "OuterProducts",
    "OutputMap",
    "Poles",
    "Recurrence",
    "RotatedDecay",
    "ScalarDecay",
    "ScaledInput",
    "ScaledOutput",
    "SeparableDecay",
    "ShiftRegister",
    "TransitionOperator",
    "UnknownOperatorError",
    "heads_of",
    "heads_of_each_tensor",
    "in_double",
    "poles_of",
    "sequence_of",
    "sequence_of_each_tensor",
]
