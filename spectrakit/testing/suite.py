"""Which checks apply to an example, and running them: from pytest or from the command line."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from spectrakit.errors import UsageError
from spectrakit.testing.analysis_bench import AnalysisBench
from spectrakit.testing.analysis_checks import ANALYSIS_CHECKS
from spectrakit.testing.checkpoint_bench import CheckpointBench
from spectrakit.testing.examples import AnalysisExample, MixerExample
from spectrakit.testing.forward_checks import FORWARD_CHECKS
from spectrakit.testing.header_checks import HEADER_CHECKS
from spectrakit.testing.mixer_checks import MIXER_CHECKS, MixerBench

if TYPE_CHECKING:
    import pytest

    from spectrakit.testing.examples import Example

Outcome: TypeAlias = Literal["passed", "failed", "expected failure", "unexpected pass"]


@dataclass(frozen=True)
class Check:
    """One check of one subject. Calling it raises where the subject does not keep it.

    expected_failure: why it is known to fail; None where it is not.
    """

    subject: str
    name: str
    run: Callable[[], None]
    expected_failure: str | None = None

    def __call__(self) -> None:
        """Raises AssertionError, or what the subject itself raised."""
        self.run()


@dataclass(frozen=True)
class Result:
    """How a check ended. reason: of a failure; empty for one that passed."""

    subject: str
    check: str
    outcome: Outcome
    reason: str = ""

    @property
    def ok(self) -> bool:
        """Whether it ended as it should."""
        return self.outcome in ("passed", "expected failure")


def checks(examples: Iterable[Example]) -> list[Check]:
    """Every check of every example that applies to it, example by example.

    Raises UsageError where an example expects a check to fail that there is not.
    """
    return [check for example in examples for check in _checks(example)]


def run_checks(found: Iterable[Check]) -> Iterator[Result]:
    """How each of them ends, one by one."""
    for check in found:
        yield _result(check)


def parametrize_with_checks(examples: Iterable[Example]) -> pytest.MarkDecorator:
    """Run a test function once for each check, its only argument: `def test(check): check()`.

    Expected failures are strict: one that passes fails the test.
    """
    return parametrize(checks(examples))


def parametrize(found: Iterable[Check]) -> pytest.MarkDecorator:
    """The same for a selection of checks; those of one example should follow each other."""
    import pytest

    def parameter(check: Check) -> Any:  # noqa: ANN401  (pytest's own type is private)
        reason = check.expected_failure
        marks = () if reason is None else (pytest.mark.xfail(reason=reason, strict=True),)
        return pytest.param(check, id=f"{check.subject}-{check.name}", marks=marks)

    return pytest.mark.parametrize("check", [parameter(check) for check in found])


def _checks(example: Example) -> Iterator[Check]:
    by_name = {function.__name__: function for function in _functions(example)}
    unknown = sorted(set(example.expected_failures) - by_name.keys())
    if unknown:
        message = f"example {example.name!r} expects {', '.join(unknown)} to fail: no such check"
        raise UsageError(message, hint=f"its checks are {', '.join(by_name)}")
    for name, function in by_name.items():
        reason = example.expected_failures.get(name)
        yield Check(example.name, name, _on_bench(function, example), reason)


def _functions(example: Example) -> tuple[Callable[[Any], None], ...]:
    if isinstance(example, MixerExample):
        return MIXER_CHECKS
    if isinstance(example, AnalysisExample):
        return ANALYSIS_CHECKS
    return HEADER_CHECKS if example.tokens is None else (*HEADER_CHECKS, *FORWARD_CHECKS)


def _on_bench(function: Callable[[Any], None], example: Example) -> Callable[[], None]:
    return lambda: function(_bench(_Same(example)))


class _Same:
    """An example as a key: it holds tensors and functions, so it is equal to itself alone."""

    def __init__(self, example: Example) -> None:
        self.example = example

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.example is self.example

    def __hash__(self) -> int:
        return id(self.example)


@lru_cache(maxsize=1)
def _bench(same: _Same) -> MixerBench | CheckpointBench | AnalysisBench:
    """What the checks of one example share; they follow each other, so the last one is enough."""
    example = same.example
    if isinstance(example, MixerExample):
        return MixerBench(example)
    if isinstance(example, AnalysisExample):
        return AnalysisBench(example)
    return CheckpointBench(example)


def _result(check: Check) -> Result:
    reason = ""
    try:
        check()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001  (whatever a plugin raises is its failure)
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        if isinstance(error, AssertionError):
            reason = " ".join(str(error).split()) or "AssertionError"
    if check.expected_failure is None:
        return Result(check.subject, check.name, "failed" if reason else "passed", reason)
    if reason:
        return Result(check.subject, check.name, "expected failure", check.expected_failure)
    said = f"expected to fail ({check.expected_failure}), and passes"
    return Result(check.subject, check.name, "unexpected pass", said)
