"""The words that settings of a run are chosen from, shared by all rooms."""

from __future__ import annotations

from typing import Literal, TypeAlias

#: Where the recurrences come from: a model's weights, or its forward pass over tokens.
Source: TypeAlias = Literal["weights", "data"]
#: What the user asked for; "auto" is weights where any layer has a spectrum there, or nothing runs.
AskedMode: TypeAlias = Literal["auto", "weights", "data"]
#: What the forward pass may be computed in.
Dtype: TypeAlias = Literal["float32", "bfloat16", "float16"]
#: The weights that a random control draws anew; see `spectrakit.architectures.random_weights`.
Randomized: TypeAlias = Literal["all", "mixers", "mlps"]
#: A released analysis whose departures from the mathematics can be reproduced.
Compat: TypeAlias = Literal["rickenbach2025"]
#: The gauges that a user may ask for; see `spectrakit.dynamics.Gauge`.
AskedGauge: TypeAlias = Literal["dsf", "retained", "unnormalised"]
