"""The plugin keeps what every plugin must: the checks of `spectrakit plugins check`."""

from __future__ import annotations

from spectrakit_rwkv.examples import EXAMPLES

from spectrakit.testing import parametrize_with_checks


@parametrize_with_checks(EXAMPLES)
def test_conformance(check):
    check()
