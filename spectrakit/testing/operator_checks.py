"""Whether an operator, and all that is made of it, is the matrices that its `dense` gives.

Shapes: batch B, tokens T, heads H, state N.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import
from spectrakit.dynamics import LyapunovSum, heads_of, in_double, poles_of, sequence_of
from spectrakit.testing.require import require, require_close, require_equal

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from spectrakit.dynamics import Recurrence, TransitionOperator
else:
    torch = lazy_import("torch")

#: Tokens whose product is multiplied out, and the singular values of that product, over the
#: largest, that float64 then knows.
_FACTORS, _KNOWN = 3, 1e-4
#: Largest error of an exponent: an erasure to within rounding is taken as an exact one.
_EXPONENT = 1e-5


def agrees_with_its_matrices(recurrence: Recurrence, t: int, tolerance: float) -> None:
    """Its operator at token `t`, in all ways but those of `has_the_matrices_eigenvalues`.

    Raises UnknownOperatorError where a function of operators has no implementation for it.
    """
    matrix = _wide(recurrence.at(t).dense())
    if not bool(matrix.isfinite().all()):  # attention, at a token that reads nothing
        return
    _takes_rows(recurrence.at(t), matrix, tolerance)
    _is_scaled(recurrence, t, matrix, tolerance)
    _has_parts(recurrence, t, matrix, tolerance)
    double = _token(recurrence, in_double(recurrence.operator), t).dense()
    require_close("A_t in double", _wide(double), matrix, tolerance)
    if recurrence.mode == "data":
        _grows(recurrence.operator, t)


def has_its_poles(operator: TransitionOperator, tolerance: float) -> None:
    """The poles of an operator without tokens are among its eigenvalues and their conjugates.

    Raises UnknownOperatorError where `poles_of` has no implementation for it.
    """
    poles, eigenvalues = poles_of(operator), operator.eigenvalues().values.to(torch.complex128)
    known = torch.cat([eigenvalues, eigenvalues.conj()], -1)
    distance = (poles.values.unsqueeze(-1) - known.unsqueeze(-2)).abs().amin(-1)
    error = float((distance * poles.counts).max())
    require(error < tolerance, f"a pole is {error:.1e} from all eigenvalues")


def _takes_rows(operator: TransitionOperator, matrix: Tensor, tolerance: float) -> None:
    rows = torch.randn(*matrix.shape[:-3], 2, *matrix.shape[-3:-1], dtype=torch.float64)
    rows = rows.to(operator.dense().dtype)
    expected = torch.einsum("...rhn,...hnm->...rhm", rows.to(matrix.dtype), matrix)
    require_close("r A_t", _wide(operator.apply_left(rows)), expected, tolerance)


def _is_scaled(recurrence: Recurrence, t: int, matrix: Tensor, tolerance: float) -> None:
    log_modulus = recurrence.operator.eigenvalues().log_modulus
    factor = torch.randn(log_modulus.shape[:-1], dtype=log_modulus.dtype)
    found = _token(recurrence, recurrence.operator.scaled(factor), t).dense()
    here = factor[:, t] if recurrence.mode == "data" else factor
    require_close("A_t scaled", _wide(found), here.exp()[..., None, None] * matrix, tolerance)


def _has_parts(recurrence: Recurrence, t: int, matrix: Tensor, tolerance: float) -> None:
    """Some of its heads, and the last of its sequences."""
    operator, by_token = recurrence.operator, recurrence.mode == "data"
    heads = list(range(operator.heads))[::-2]
    part = heads_of(operator, heads, by_token=by_token)
    require_equal("number of some heads", part.heads, len(heads))
    found = _wide(_token(recurrence, part, t).dense())
    require_close("A_t of some heads", found, matrix[..., heads, :, :], tolerance)
    last = len(matrix) - 1 if by_token else 0
    one = sequence_of(operator, last, slice(0, t + 1), by_token=by_token).at(t)
    expected = matrix[last:] if by_token else matrix.unsqueeze(0)
    require_close("A_t of one sequence", one.dense().expand_as(expected), expected, tolerance)


def _grows(operator: TransitionOperator, t: int) -> None:
    """Exponents of the last sequence's tokens up to `t`, where their product is a number."""
    valid = torch.zeros(operator.eigenvalues().log_modulus.shape[:2], dtype=torch.bool)
    tokens = range(max(0, t + 1 - _FACTORS), t + 1)
    valid[-1, tokens] = True
    product = _wide(in_double(operator.at(tokens[0])).dense()[-1])
    for s in tokens[1:]:
        product = _wide(in_double(operator.at(s)).dense()[-1]) @ product
    if not bool((product.isfinite().all(-1).all(-1) & (product != 0).any(-1).any(-1)).all()):
        return
    growth = LyapunovSum()
    growth.add(operator, valid)
    exponents = growth.exponents()
    values = torch.linalg.svdvals(product)
    for head, one in enumerate(values):
        found = exponents.exponents[head].repeat_interleave(exponents.multiplicity[head])
        known = one > _KNOWN * one[0]
        error = float((found[known] - one[known].log() / len(tokens)).abs().max())
        require(error < _EXPONENT, f"an exponent of head {head} is {error:.1e} off")


def _token(recurrence: Recurrence, operator: TransitionOperator, t: int) -> TransitionOperator:
    return operator.at(t) if recurrence.mode == "data" else operator


def _wide(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float64))
