"""All oracles: importing this module fills `checking.ORACLES`."""

from __future__ import annotations

from tests.oracles import (  # noqa: F401
    comparison_oracle,
    empirical_oracle,
    flow_oracle,
    kernel_oracle,
    layers_oracle,
    leaderboard_oracle,
    lyapunov_oracle,
    massive_oracle,
    memory_oracle,
    observed_oracle,
    probe_oracle,
    similarity_oracle,
    spectrum_oracle,
    training_oracle,
    two_models_oracle,
)
from tests.oracles.checking import ORACLES
from tests.oracles.uncovered import UNCOVERED

__all__ = ["ORACLES", "UNCOVERED"]
