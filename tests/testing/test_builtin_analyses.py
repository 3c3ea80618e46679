"""The analyses of spectrakit keep what is asked of those of plugins."""

from __future__ import annotations

import pytest

from spectrakit import builtin
from spectrakit.testing import AnalysisExample, checks
from spectrakit.testing.suite import parametrize

DATA = {"mode": "data", "max_tokens": 1024, "seq_len": 64}
#: Those that look at some models alone.
MODELS = {"rickenbach2025": "tiny-llama"}
#: How each of them is run.
SETTINGS = {
    "spectrum": {"domain": "both"},
    "lyapunov": DATA,
    "kernel": DATA,
    "memory": {"horizon": 1024},
    "propagation": DATA,
    "perturbation": DATA | {"max_tokens": 256},
    "rickenbach2025": DATA | {"compat": "rickenbach2025"},
    "empirical_memory": DATA | {"max_tokens": 8192},
    "probe": {"mode": "data", "prompts": 40, "pairs": 3},
    "similarity": DATA,
}
EXAMPLES = [
    AnalysisExample(name, name, model=MODELS.get(name, "tiny-mamba"), settings=settings)
    for name, settings in SETTINGS.items()
]


def test_each_has_an_example():
    assert set(SETTINGS) == {analysis.KIND.name for analysis in builtin.ANALYSES}


@pytest.mark.slow
@parametrize(checks(EXAMPLES))
def test_conformance(check):
    check()
