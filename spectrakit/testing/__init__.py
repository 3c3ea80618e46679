"""The conformance kit: what mixers, architectures and analyses must keep, as named checks.

    from spectrakit.testing import parametrize_with_checks

    @parametrize_with_checks(EXAMPLES)
    def test_conformance(check):
        check()

An example is a mixer with parameters and an input, a tiny checkpoint that can be written anywhere,
or an analysis with a model that it is run on. Every check that applies to it is a pair of a
subject, the example's name, and a check's name. `spectrakit plugins check` runs those of the
examples that a plugin registers.
"""

from spectrakit.testing.examples import (
    AnalysisExample,
    CheckpointExample,
    Example,
    MixerExample,
    random_parameters,
)
from spectrakit.testing.suite import Check, Result, checks, parametrize_with_checks, run_checks

__all__ = [
    "AnalysisExample",
    "Check",
    "CheckpointExample",
    "Example",
    "MixerExample",
    "Result",
    "checks",
    "parametrize_with_checks",
    "random_parameters",
    "run_checks",
]
