"""The columns of docs/tables.md that no oracle recomputes, each with the reason."""

from __future__ import annotations

UNCOVERED = {
    "decay_distance.reason": "no model here has a layer that decays at no finite rate",
    "similarity.other_model_id": "two models on one text: tests/comparison/test_models.py",
    "similarity.other_revision": "two models on one text: tests/comparison/test_models.py",
    "similarity.other_run": "two models on one text: tests/comparison/test_models.py",
}
