"""Which checks apply, and what becomes of a failure that is expected."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from spectrakit.errors import UsageError
from spectrakit.testing import checks, parametrize_with_checks, run_checks
from spectrakit.testing.require import (
    CheckFailed,
    matching_error,
    reachable_bytes,
    require_close,
)

NAME = "is_deterministic"


@pytest.fixture
def layer(examples):
    return examples()[0]


@pytest.fixture
def noisy_layer(examples):
    sigmoid = "gain=raw_gate.sigmoid()"
    return examples({"mixer.py": (sigmoid, f"{sigmoid} + raw_gate.new_empty(()).normal_()")})[0]


def result_of(example):
    return next(result for result in run_checks(checks([example])) if result.check == NAME)


def test_an_expected_failure_is_no_failure(noisy_layer):
    assert result_of(noisy_layer).outcome == "failed"
    result = result_of(replace(noisy_layer, expected_failures={NAME: "dropout"}))
    assert (result.outcome, result.reason, result.ok) == ("expected failure", "dropout", True)


def test_an_expected_failure_that_passes_is_one(layer):
    result = result_of(replace(layer, expected_failures={NAME: "dropout"}))
    assert (result.outcome, result.ok) == ("unexpected pass", False)
    assert result.reason == "expected to fail (dropout), and passes"


def test_there_must_be_such_a_check(layer):
    with pytest.raises(UsageError, match="expects is_fast to fail: no such check"):
        checks([replace(layer, expected_failures={"is_fast": "it is not"})])


def test_without_tokens_there_is_no_data_mode(examples):
    checkpoint = replace(examples()[1], tokens=None)
    names = [check.name for check in checks([checkpoint])]
    assert names[0] == "claims_only_its_own"
    assert "padding_is_masked" not in names


@pytest.mark.parametrize("shape", [(1, 20, 6), (2, 7, 6), (20,)])
def test_inputs_may_not_be_too_small(layer, shape):
    with pytest.raises(ValueError, match="at least 2 sequences of 8 tokens"):
        replace(layer, hidden=torch.zeros(shape))


def test_sys_exit_is_a_failure_like_any_other(layer):
    def leave(hidden, p):
        raise SystemExit(3)

    results = list(run_checks(checks([replace(layer, reference=leave)])))
    failed = {result.check: result.reason for result in results if not result.ok}
    assert failed == {
        "recurrence_gives_the_output_in_float64": "SystemExit: 3",
        "recurrence_gives_the_output_in_float32": "SystemExit: 3",
    }


def test_pytest_gets_readable_names_and_strict_marks(layer):
    mark = parametrize_with_checks([replace(layer, expected_failures={NAME: "dropout"})])
    argument, parameters = mark.mark.args
    assert argument == "check"
    assert parameters[0].id == "demo layer-describes_itself"
    (expected,) = [parameter for parameter in parameters if parameter.marks]
    (xfail,) = expected.marks
    assert (expected.id, xfail.kwargs) == (
        f"demo layer-{NAME}",
        {"reason": "dropout", "strict": True},
    )


def test_what_was_written_does_not_stay(examples):
    from spectrakit.testing.checkpoint_bench import CheckpointBench

    bench = CheckpointBench(examples()[1])
    path = bench.path
    assert path.exists()
    del bench
    assert not path.exists()


# ---- how results are compared ---------------------------------------------------------------


def test_eigenvalues_match_in_any_order():
    values = torch.tensor([[1.0, 2.0, 3.0], [4.0, 4.0, 5.0]]).to(torch.complex128)
    assert matching_error(values.flip(-1), values) == 0
    moved = values.clone()
    moved[1, 0] += 1e-3j
    assert matching_error(moved.flip(-1), values) == pytest.approx(1e-3)
    # Sorted, or as sums of powers, these two would look alike; as multisets they do not.
    assert matching_error(torch.tensor([[4.0, 5.0, 5.0]]), torch.tensor([[4.0, 4.0, 5.0]])) == 1


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ([1.0, 2.1], "relative error 5.0e-02"),
        ([1.0], "shape of y"),
        ([1.0, float("nan")], "NaN"),
    ],
)
def test_what_is_not_close_says_why(found, message):
    with pytest.raises(CheckFailed, match=message.replace("[", r"\[")):
        require_close("y", torch.tensor(found), torch.tensor([1.0, 2.0]), 1e-2)


def test_memory_is_counted_once_and_by_what_it_takes():
    base = torch.zeros(10, dtype=torch.float64)
    assert reachable_bytes([base, base[2:4], base.expand(100, 10)]) == 80
    assert reachable_bytes({"a": base, "b": (torch.zeros(3), print, int)}) == 92
