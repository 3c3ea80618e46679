"""The checks that every plugin is held to; `spectrakit plugins check` runs the same."""

from spectrakit_mamba3.examples import EXAMPLES

from spectrakit.testing import parametrize_with_checks


@parametrize_with_checks(EXAMPLES)
def test_conformance(check):
    check()
