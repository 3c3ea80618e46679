"""What holds for every observed recurrence, of a mixer alone or of a layer in a running model.

Shapes: batch B, tokens T, heads H, state N, head width P.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from spectrakit._lazy import lazy_import
from spectrakit.testing.require import (
    matching_error,
    reachable_bytes,
    require,
    require_close,
    require_equal,
)

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from spectrakit.dynamics import Recurrence
    from spectrakit.dynamics.operators import TransitionOperator
    from spectrakit.mixers import Mixer, Observation
else:
    torch = lazy_import("torch")

#: Bytes of twice as many tokens are at most this many times as much, all but for rounding to
#: chunks; with a table of T x T they would be up to four times as much.
_LINEAR = 2.25


def has_the_shapes(mixer: Mixer, observation: Observation, batch: int, tokens: int) -> None:
    """The operator is the one `mixer` says, and everything has the axes that it should."""
    recurrence, inputs = observation.recurrence, observation.inputs
    operator = recurrence.operator
    require_equal("operator", operator.structure, mixer.operator)
    require_equal("heads of the operator", operator.heads, mixer.heads)
    if mixer.state_size is not None:  # softmax attention's is as large as the context
        require_equal("state size of the operator", operator.state_size, mixer.state_size)
    require_equal("head axis", recurrence.head_axis, mixer.head_axis)
    require_equal("axes (B, T, H) of the inputs", inputs.shape[:3], (batch, tokens, mixer.heads))
    require_equal("number of axes of the inputs", inputs.dim(), 4)
    require(recurrence.mode in ("data", "static"), f"an observation of mode {recurrence.mode!r}")
    leading = (batch, tokens) if recurrence.mode == "data" else ()
    has_eigenvalues(operator, (*leading, mixer.heads))


def has_eigenvalues(operator: TransitionOperator, axes: tuple[int, ...]) -> None:
    """`operator` has N eigenvalues on each of `axes`, in a precision that memory survives."""
    found = operator.eigenvalues()
    require_equal("axes of the eigenvalues", tuple(found.log_modulus.shape[:-1]), axes)
    require_equal("number of eigenvalues", sum(found.multiplicities), operator.state_size)
    precise = found.log_modulus.dtype in (torch.float32, torch.float64)
    require(precise, f"eigenvalues in {found.log_modulus.dtype}: 1 - |lambda| has no digits left")
    require(not bool(found.log_modulus.isnan().any()), "NaN among the eigenvalues")


def has_the_matrices_eigenvalues(recurrence: Recurrence, t: int, tolerance: float) -> None:
    """The eigenvalues at token `t` are those of the matrices there, and these are what is applied.

    Compared with a general eigensolver on the matrices in double precision.
    """
    operator = recurrence.at(t)
    matrix = operator.dense()
    matrix = matrix.to(torch.complex128 if matrix.is_complex() else torch.float64)
    found = recurrence.operator.eigenvalues()
    values, bound = found.values, found.error_bound
    if recurrence.mode == "data":
        values, bound = values[:, t], None if bound is None else bound[:, t]
    times = torch.tensor(found.multiplicities)
    values = values.to(torch.complex128).repeat_interleave(times, -1)
    expected = torch.linalg.eigvals(matrix)
    require_equal("shape of the eigenvalues", tuple(values.shape), tuple(expected.shape))
    allowed = tolerance * float(expected.abs().max().clamp(min=1))
    allowed += 0.0 if bound is None else float(bound.max())
    error = matching_error(values, expected)
    require(
        error <= allowed, f"an eigenvalue is {error:.1e} from the matrix's, allowed {allowed:.0e}"
    )
    state = torch.randn(*matrix.shape[:-1], 2, dtype=torch.float64).to(found.log_modulus.dtype)
    applied = operator.apply(state).to(matrix.dtype)
    require_close("A_t h", applied, matrix @ state.to(matrix.dtype), tolerance)


def resumes(recurrence: Recurrence, inputs: Tensor, cut: int, tolerance: float) -> None:
    """Run in two pieces, the second from the state that the first left, it gives the same."""
    whole = recurrence.run(inputs)
    keep = _Keep(recurrence.output_map)
    first = _with_maps(recurrence, recurrence.operator, recurrence.input_map, keep)
    second = _with_maps(
        recurrence,
        _Later(recurrence.operator, cut) if recurrence.mode == "data" else recurrence.operator,
        _Later(recurrence.input_map, cut),
        _Later(recurrence.output_map, cut),
    )
    begun = replace(first, feedthrough=_tokens(recurrence, None, cut)).run(inputs[:, :cut])
    rest = replace(second, feedthrough=_tokens(recurrence, cut, None))
    ended = rest.run(inputs[:, cut:], keep.state)
    require_close("output in two pieces", torch.cat([begun, ended], 1), whole, tolerance)


def _with_maps(recurrence: Recurrence, operator: Any, write: Any, read: Any) -> Recurrence:  # noqa: ANN401
    """`recurrence` with stand-ins that have no more than what `run` asks for."""
    return replace(recurrence, operator=operator, input_map=write, output_map=read)


def same_beginning(short: Observation, long: Observation, tokens: int, tolerance: float) -> None:
    """What comes after the first `tokens` changes nothing about them."""
    found = short.recurrence.run(short.inputs)[:, :tokens]
    expected = long.recurrence.run(long.inputs)[:, :tokens]
    require_close("output of the first tokens alone", found, expected, tolerance)
    if long.recurrence.mode == "data" and _is_stable_in_length(long.recurrence):
        found = short.recurrence.operator.eigenvalues().modulus[:, :tokens]
        expected = long.recurrence.operator.eigenvalues().modulus[:, :tokens]
        require_close("eigenvalues of the first tokens alone", found, expected, tolerance)


def grows_linearly(half: Observation, whole: Observation) -> None:
    """Twice as many tokens take at most about twice the memory; the model's own outputs aside."""
    few = reachable_bytes((half.recurrence, half.inputs))
    many = reachable_bytes((whole.recurrence, whole.inputs))
    message = f"half of the tokens hold {few:,} bytes, all of them {many:,}: more than linear in T"
    require(many <= _LINEAR * few, message)


def _is_stable_in_length(recurrence: Recurrence) -> bool:
    """Whether all its eigenvalues are finite numbers that can be subtracted."""
    return bool(recurrence.operator.eigenvalues().modulus.isfinite().all())


def _tokens(recurrence: Recurrence, first: int | None, last: int | None) -> Tensor | None:
    """The feedthrough of tokens [first, last), where it has tokens."""
    feedthrough = recurrence.feedthrough
    if feedthrough is None or feedthrough.dim() < 4 or feedthrough.shape[1] == 1:
        return feedthrough
    return feedthrough[:, first:last]


class _Keep:
    """An output map that keeps the last state it was shown."""

    def __init__(self, inner: Any) -> None:  # noqa: ANN401  (any output map)
        self.inner = inner
        self.state: Tensor | None = None

    def at(self, t: int, state: Tensor) -> Tensor:
        self.state = state
        return self.inner.at(t, state)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class _Later:
    """An operator or a map whose token 0 is token `start` of another."""

    inner: Any
    start: int

    def at(self, t: int, *arguments: Tensor) -> Any:  # noqa: ANN401  (an operator or a tensor)
        return self.inner.at(self.start + t, *arguments)
