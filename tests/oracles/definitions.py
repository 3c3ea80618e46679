"""Conventions that no equation decides, said once: change them here when spectrakit does."""

from __future__ import annotations

#: Whether the A_t of a sequence's first token, which acts on an empty state, is counted.
FIRST_TOKEN_COUNTS = False
FIRST_COUNTED = 0 if FIRST_TOKEN_COUNTS else 1

#: Radius and phase bins of arXiv 2510.09379, closed on the right.
RADIUS_EDGES = (0.0, 0.1, 0.5, 0.9, 1.0, 10.0, 100.0, float("inf"))
PHASE_EDGES = (0.0, 1.0, 10.0, 45.0, 90.0, 180.0)
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)

#: How far a decay rate in a sketch may be off.
SKETCH_ERROR = 0.01

#: From which multiple of a median on norms, variances and mean squares are massive, and of how many
#: tokens a variance is judged.
MASSIVE, FEWEST_TO_JUDGE = 20.0, 16
