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
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from spectrakit._lazy import lazy_import
from spectrakit._threads import one_blas_thread
from spectrakit.dynamics.diagonal_products import Diagonal, products_to_last
from spectrakit.dynamics.leverage import leverage
from spectrakit.dynamics.maps import ConstantInput, OuterProduct, ScaledInput
from spectrakit.dynamics.observed_rounding import (
    CarriedNoise,
    carried_noise,
    read_through_noise,
    whitened_by,
    whitened_by_itself,
)
from spectrakit.dynamics.operator_parts import sequence_of
from spectrakit.dynamics.operators import ScalarDecay

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor

    from spectrakit.dynamics.maps import InputMap
    from spectrakit.dynamics.operator_parts import OneSequence
    from spectrakit.dynamics.recurrence import Recurrence
    from spectrakit.dynamics.rounded_memory import Precision
else:
    np = lazy_import("numpy")
    torch = lazy_import("torch")

#: A state as it is computed, or as it is stored.
Reading: TypeAlias = 'Literal["exact"] | Precision'


def observed_memory(recurrence: Recurrence, sequence: int, t: int, first: int = 0) -> np.ndarray:
    """MF_t by delay of every head, at token `t` of one sequence that begins at `first`.

    (H, t - first + 1). A must have leading axes (B, T), or be the same for every token.

    Raises ValueError where the recurrence has no input map, FloatingPointError where a product of
    transitions is NaN or infinite.
    """
    return observed_memories(recurrence, sequence, t, first)["exact"]


def observed_memories(
    recurrence: Recurrence,
    sequence: int,
    t: int,
    first: int = 0,
    precisions: Sequence[Precision] = (),
) -> dict[Reading, np.ndarray]:
    """As `observed_memory`: "exact", and of a state stored in each of the `precisions`."""
    if recurrence.input_map is None:
        message = f"a {recurrence.mode} recurrence has no input map"
        raise ValueError(message)
    starts = recurrence.starts
    if starts is not None and bool(starts[sequence, first + 1 : t + 1].any()):
        # What came before the last start is not in the state any more.
        kept = first + 1 + int(starts[sequence, first + 1 : t + 1].nonzero()[-1])
        found = observed_memories(recurrence, sequence, t, kept, precisions)
        lost = [(0, 0), (0, kept - first)]
        return {reading: np.pad(memory, lost) for reading, memory in found.items()}
    tokens = slice(first, t + 1)
    by_token, heads = recurrence.mode == "data", recurrence.operator.heads
    operator = sequence_of(recurrence.operator, sequence, tokens, by_token=by_token)
    written = _written(recurrence.input_map, heads, sequence, tokens)
    columns = _columns(operator, written)
    # A diagonal A keeps the noise of an entry where it is.
    mixed = bool(precisions) and not isinstance(operator, Diagonal)
    noise = carried_noise(operator, *written) if mixed else None
    with one_blas_thread():
        by_head = [_scores(columns, head, noise, precisions) for head in range(heads)]
    scores = np.array(by_head).swapaxes(0, 1)[..., ::-1]
    return dict(zip(("exact", *precisions), scores, strict=True))


class _Columns(NamedTuple):
    """vectors: (S, H, n, N). log_scale: (S, H), of all of a token's vectors."""

    vectors: Tensor
    log_scale: Tensor


def _scores(
    columns: _Columns, head: int, noise: CarriedNoise | None, precisions: Sequence[Precision]
) -> list[np.ndarray]:
    """What is recovered of each token, its inputs together, exactly and in each precision: (S,)."""
    vectors = columns.vectors[:, head]
    inputs = vectors.shape[1]
    rows = vectors.conj().resolve_conj().cpu().numpy()
    log_scale = columns.log_scale[:, head].cpu().numpy()
    exact = leverage(rows.reshape(-1, rows.shape[2]), log_scale.repeat(inputs))
    found = [exact.reshape(-1, inputs).sum(1)]
    if precisions:
        if noise is None:
            whitened = whitened_by_itself(rows, log_scale)
        else:
            covariance = noise.covariance[head].cpu().numpy()
            whitened = whitened_by(covariance, float(noise.log_size[head]), rows, log_scale)
        found += read_through_noise(whitened, inputs, precisions)
    return found


def _written(write: InputMap, heads: int, sequence: int, tokens: slice) -> _Columns:
    """B_s of the tokens."""
    if isinstance(write, ScaledInput):
        inner = _written(write.inner, heads, sequence, tokens)
        log_scale = write.log_scale[sequence, tokens].double()
        return inner._replace(log_scale=inner.log_scale + log_scale)
    if isinstance(write, ConstantInput):
        count = tokens.stop - tokens.start
        vectors = _wide(write.weight.mT.expand(count, heads, -1, -1))
    elif isinstance(write, OuterProduct):
        gain = None if write.gain is None else _wide(write.gain[sequence, tokens])
        key = _wide(write.key[sequence, tokens])
        vectors = OuterProduct(key, gain).matrix(heads).unsqueeze(2)
    else:
        matrix = _wide(write.matrix(heads))
        if matrix.shape[:2] == (1, 1):  # the same for every token
            count = tokens.stop - tokens.start
            vectors = matrix[0].expand(count, *matrix.shape[2:])
        else:
            vectors = matrix[sequence, tokens]
        vectors = vectors if vectors.dim() == 4 else vectors.unsqueeze(2)
    zeros = torch.zeros(vectors.shape[:2], dtype=torch.float64, device=vectors.device)
    return _Columns(vectors, zeros)


def _columns(operator: OneSequence, written: _Columns) -> _Columns:
    """Phi(t, s) B_s for the last token t."""
    vectors, log_scale = written
    if not isinstance(operator, Diagonal):
        return _carried(operator, vectors, log_scale)
    products = products_to_last(operator, slice(None))
    decays = products.log_modulus[0, 1:]
    if isinstance(operator, ScalarDecay):
        return _Columns(vectors, log_scale + decays.squeeze(-1))
    decayed = _decayed(vectors, log_scale, decays)
    if products.angle is None:
        return decayed
    turn = products.angle[0, 1:].unsqueeze(2)
    return decayed._replace(vectors=decayed.vectors * torch.polar(torch.ones_like(turn), turn))


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


def _carried(operator: OneSequence, vectors: Tensor, log_scale: Tensor) -> _Columns:
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
