"""A plugin with an operator of its own: what its author is told, and that it is enough."""

from __future__ import annotations

import pytest

import spectrakit as sk
from spectrakit.dynamics import UnknownOperatorError
from spectrakit.testing import checks, run_checks

BUILT_IN = """\
        operator = DiagonalDecay(log_decay.unsqueeze(-1))  # (..., D, 1): H = D and N = 1
        return Recurrence(operator, mode, "unnormalised", self.head_axis, width=1, **maps)
"""
OWN = '''\
        operator = Sideways(log_decay.unsqueeze(-2))
        return Recurrence(operator, mode, "unnormalised", self.head_axis, width=1, **maps)


@dataclass(frozen=True)
class Sideways:
    """The same decays with heads last: log_decay (..., N, H)."""

    structure: ClassVar[str] = DiagonalDecay.structure
    log_decay: object

    heads = property(lambda self: self.log_decay.shape[-1])
    state_size = property(lambda self: self.log_decay.shape[-2])

    def upright(self):
        return DiagonalDecay(self.log_decay.transpose(-1, -2))

    def eigenvalues(self):
        return self.upright().eigenvalues()

    def dense(self):
        return self.upright().dense()

    def at(self, t):
        return Sideways(self.log_decay[:, t])

    def apply(self, state):
        return self.upright().apply(state)

    def apply_left(self, row):
        return self.upright().apply_left(row)

    def scaled(self, log_factor):
        return self.upright().scaled(log_factor)
'''
REGISTERED = """\


from spectrakit.dynamics import Poles, heads_of, poles_of


@heads_of.register(Sideways)
def _(operator, heads, *, by_token):
    return Sideways(operator.log_decay[..., list(heads)])


@poles_of.register(Sideways)
def _(operator):
    return Poles.distinct(operator.eigenvalues())
"""


def test_checks_say_what_to_register(examples):
    results = list(run_checks(checks(examples({"mixer.py": (BUILT_IN, OWN)}))))
    failed = [result for result in results if not result.ok]
    assert {result.check for result in failed} == {"operators_agree_with_their_matrices"}
    for result in failed:
        assert "heads_of has no implementation for the operator 'diagonal_decay'" in result.reason
        assert "(spectrakit_demo.mixer.Sideways)" in result.reason
        assert "@spectrakit.dynamics.operator_parts.heads_of.register(Sideways)" in result.reason


def test_a_run_does_not_guess(examples, tmp_path):
    checkpoint = examples({"mixer.py": (BUILT_IN, OWN)})[1]
    model = str(checkpoint.write(tmp_path / "model"))
    with pytest.raises(UnknownOperatorError, match="poles_of has no implementation"):
        sk.analyze(model, analyses="memory", mode="weights")


def test_what_they_name_is_enough(examples, tmp_path):
    found = examples({"mixer.py": (BUILT_IN, OWN + REGISTERED)})
    assert [result for result in run_checks(checks(found)) if not result.ok] == []
    model = str(found[1].write(tmp_path / "model"))
    sk.analyze(model, analyses="memory", mode="weights")
