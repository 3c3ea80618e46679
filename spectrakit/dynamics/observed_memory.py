"""The memory that a time-varying recurrence has at a token t of a sequence it was run on.

    X_t = [Phi(t, 0) B_0, ..., Phi(t, t) B_t]        Phi(t, s) = A_t A_{t-1} ... A_{s+1}
    MF_t(tau) = leverage score of column t - tau
    sum_tau MF_t(tau) = rank X_t <= min(N, t + 1)

what a linear read-out of the state could say of each earlier input, were the inputs white and the
transitions, with the keys they are written along, as they were. It does not change under a gauge
h_t -> s_t h_t. Where A and B do not vary and the sequence is long it is the fixed memory function.
Our own definition for these layers; for a fixed A it is Dambre et al.'s.

A head is a state of N entries that an input enters along B_s; where a token has several inputs, it
is their sum. Columns are kept as vectors and logarithms of their size: a decay may underflow.

B sequences, T tokens, H heads, N state, n inputs of a token, S = t + 1 columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias, cast

from spectrakit._lazy import lazy_import
from spectrakit.dynamics.leverage import leverage
from spectrakit.dynamics.maps import ConstantInput, OuterProduct, ScaledInput
from spectrakit.dynamics.operators import DiagonalDecay, ScalarDecay, SeparableDecay
from spectrakit.dynamics.rounded_memory import IN_EIGENBASIS, observed_through_noise

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor

    from spectrakit.dynamics.maps import InputMap
    from spectrakit.dynamics.operators import TransitionOperator
    from spectrakit.dynamics.recurrence import Recurrence
    from spectrakit.dynamics.rounded_memory import Precision
else:
    np = lazy_import("numpy")
    torch = lazy_import("torch")

#: A state as it is computed, or as it is stored.
Reading: TypeAlias = 'Literal["exact"] | Precision'


def observed_memory(
    recurrence: Recurrence, sequence: int, heads: Sequence[int], t: int, first: int = 0
) -> np.ndarray:
    """MF_t by delay for some heads, at token `t` of one sequence that begins at `first`.

    (heads, t - first + 1). A must have leading axes (B, T), or be the same for every token.

    Raises ValueError where the recurrence has no input map, FloatingPointError where a product of
    transitions is NaN or infinite.
    """
    return observed_memories(recurrence, sequence, heads, t, first)["exact"]


def observed_memories(
    recurrence: Recurrence,
    sequence: int,
    heads: Sequence[int],
    t: int,
    first: int = 0,
    precisions: Sequence[Precision] = (),
) -> dict[Reading, np.ndarray]:
    """As `observed_memory`: "exact", and of a state stored in each of the `precisions`.

    Only exact where the state is not in the eigenbasis of A: a delta rule carries the noise of one
    entry over to the others.
    """
    if recurrence.input_map is None:
        message = f"a {recurrence.mode} recurrence has no input map"
        raise ValueError(message)
    starts = recurrence.starts
    if starts is not None and bool(starts[sequence, first + 1 : t + 1].any()):
        # What came before the last start is not in the state any more.
        kept = first + 1 + int(starts[sequence, first + 1 : t + 1].nonzero()[-1])
        found = observed_memories(recurrence, sequence, heads, t, kept, precisions)
        lost = [(0, 0), (0, kept - first)]
        return {reading: np.pad(memory, lost) for reading, memory in found.items()}
    tokens = slice(first, t + 1)
    written = _written(recurrence.input_map, recurrence.operator.heads, sequence, heads, tokens)
    fixed = recurrence.mode != "data"
    operator = _chosen(recurrence.operator, sequence, heads, tokens, fixed=fixed)
    if not isinstance(operator, IN_EIGENBASIS):
        precisions = ()
    columns = _columns(operator, written)
    by_head = [_scores(columns, head, precisions) for head in range(len(heads))]
    scores = np.array(by_head).swapaxes(0, 1)[..., ::-1]
    return dict(zip(("exact", *precisions), scores, strict=True))


class _Columns(NamedTuple):
    """vectors: (S, H, n, N). log_scale: (S, H), of all of a token's vectors."""

    vectors: Tensor
    log_scale: Tensor


def _scores(columns: _Columns, head: int, precisions: Sequence[Precision]) -> list[np.ndarray]:
    """What is recovered of each token, its inputs together, exactly and in each precision: (S,)."""
    vectors = columns.vectors[:, head]
    inputs = vectors.shape[1]
    rows = vectors.conj().resolve_conj().cpu().numpy()
    log_scale = columns.log_scale[:, head].cpu().numpy()
    exact = leverage(rows.reshape(-1, rows.shape[2]), log_scale.repeat(inputs))
    rounded = observed_through_noise(rows, log_scale, precisions) if precisions else []
    return [exact.reshape(-1, inputs).sum(1), *rounded]


def _written(
    write: InputMap, all_heads: int, sequence: int, heads: Sequence[int], tokens: slice
) -> _Columns:
    """B_s of the tokens."""
    count = tokens.stop - tokens.start
    if isinstance(write, ScaledInput):
        inner = _written(write.inner, all_heads, sequence, heads, tokens)
        log_scale = write.log_scale[sequence, tokens][:, list(heads)].double()
        return inner._replace(log_scale=inner.log_scale + log_scale)
    if isinstance(write, OuterProduct):
        groups = write.key.shape[2]
        group = [head * groups // all_heads for head in heads]
        vectors = _wide(write.key[sequence, tokens][:, group])
        if write.gain is not None:
            vectors = vectors * write.gain[sequence, tokens][:, list(heads)].unsqueeze(-1)
    elif isinstance(write, ConstantInput):
        weight = _wide(write.weight).expand(all_heads, -1, -1)[list(heads)]
        return _Columns(weight.mT.expand(count, -1, -1, -1), torch.zeros(count, len(heads)))
    else:
        vectors = _wide(write.matrix(all_heads)[sequence, tokens][:, list(heads)])
    if vectors.dim() == 3:
        vectors = vectors.unsqueeze(2)
    zeros = torch.zeros(vectors.shape[:2], dtype=torch.float64, device=vectors.device)
    return _Columns(vectors, zeros)


def _chosen(
    operator: TransitionOperator, sequence: int, heads: Sequence[int], tokens: slice, *, fixed: bool
) -> TransitionOperator:
    """The operator of these tokens and heads, with leading axes (1, S), in float64.

    fixed: whether it has no leading axes, and every token has the same.
    """

    def chosen(values: Tensor) -> Tensor:
        if fixed:
            here = values[list(heads)]
            here = here.expand(tokens.stop - tokens.start, *here.shape)
        else:
            here = values[sequence, tokens][:, list(heads)]
        return _wide(here).unsqueeze(0)

    if isinstance(operator, SeparableDecay):
        return SeparableDecay(chosen(operator.step), _wide(operator.rate[list(heads)]))
    parts: dict[str, Tensor] = {}
    for field in fields(cast("Any", operator)):
        value = getattr(operator, field.name)
        if isinstance(value, torch.Tensor):
            parts[field.name] = chosen(value)
    return cast("TransitionOperator", replace(cast("Any", operator), **parts))


def _columns(operator: TransitionOperator, written: _Columns) -> _Columns:
    """Phi(t, s) B_s for the last token t."""
    vectors, log_scale = written
    if isinstance(operator, ScalarDecay):
        return _Columns(vectors, log_scale + _to_last(operator.log_decay[0]))
    if isinstance(operator, SeparableDecay):
        decays = _to_last(operator.step[0]).unsqueeze(-1) * -operator.rate
        return _decayed(vectors, log_scale, decays)
    if isinstance(operator, DiagonalDecay):
        decayed = _decayed(vectors, log_scale, _to_last(operator.log_decay[0]))
        if operator.phase is None:
            return decayed
        turn = _to_last(operator.phase[0]).unsqueeze(2)
        return decayed._replace(vectors=decayed.vectors * torch.polar(torch.ones_like(turn), turn))
    return _carried(operator, vectors, log_scale)


def _to_last(values: Tensor) -> Tensor:
    """Sum of (S, ...) over the tokens after each."""
    later = values.flip(0).cumsum(0).flip(0)
    return torch.cat([later[1:], torch.zeros_like(values[:1])])


def _decayed(vectors: Tensor, log_scale: Tensor, decays: Tensor) -> _Columns:
    """diag(exp(decays)) B_s with every state scaled to its largest entry: decays (S, H, N).

    Leverage does not change when a state is scaled.
    """
    log = vectors.abs().log() + decays.unsqueeze(2) + log_scale[..., None, None]
    log = log - log.amax((0, 2), keepdim=True).nan_to_num(neginf=0.0)
    size = log.amax((2, 3))
    direction = vectors / vectors.abs().clamp(min=1e-300)
    part = (log - size.nan_to_num(neginf=0.0)[..., None, None]).exp()
    return _Columns(direction * part, size)


def _carried(operator: TransitionOperator, vectors: Tensor, log_scale: Tensor) -> _Columns:
    """By the product of the transitions itself, scaled to one as it shrinks or grows."""
    tokens, heads, _, states = vectors.shape
    product = torch.eye(states, dtype=torch.float64, device=vectors.device)
    product = product.unsqueeze(1).repeat(1, heads, 1).unsqueeze(0)  # rows of it: (1, N, H, N)
    size = torch.zeros(heads, dtype=torch.float64, device=vectors.device)
    columns, sizes = [], []
    for s in range(tokens - 1, -1, -1):
        columns.append(torch.einsum("rhm,hnm->hnr", product[0].to(vectors.dtype), vectors[s]))
        sizes.append(size + log_scale[s])
        if s > 0:
            product = operator.at(s).apply_left(product)
            largest = product[0].abs().amax((0, 2))
            scale = torch.where(largest > 0, largest, 1)
            product = product / scale[:, None]
            size = size + scale.log()
    return _Columns(torch.stack(columns[::-1]), torch.stack(sizes[::-1]))


def _wide(values: Tensor) -> Tensor:
    """In float64 or complex128."""
    return values.to(torch.promote_types(values.dtype, torch.float64))
