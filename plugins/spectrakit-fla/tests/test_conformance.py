"""The checks that every plugin is held to; `spectrakit plugins check spectrakit-fla` runs them."""

from __future__ import annotations

from spectrakit_fla.examples import EXAMPLES

from spectrakit.testing import parametrize_with_checks


@parametrize_with_checks(EXAMPLES)
def test_conformance(check):
    check()
