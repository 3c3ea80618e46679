"""What a recurrence does end to end, whatever gauge its state is kept in.

    y_t = sum_{s <= t} k(t, s) u_s + D u_t,        k(t, s) = C_t A_t A_{t-1} ... A_{s+1} B_s

The kernel k and with it |k(t, s)| by lag t - s do not change under h_t -> s_t h_t; eigenvalues of a
time-varying A_t do. For softmax attention the kernel is the attention weight itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import
from spectrakit.dynamics.maps import Contraction, OuterProduct
from spectrakit.dynamics.operators import ScalarDecay, SeparableDecay

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from spectrakit.dynamics.operators import TransitionOperator
    from spectrakit.dynamics.recurrence import Recurrence
else:
    torch = lazy_import("torch")


def kernel_rows(recurrence: Recurrence, times: Sequence[int]) -> Tensor:
    """k(t, s) of the tokens t in `times` and every s: (B, R, H, max(times) + 1), 0 where s > t.

    times: R of them, rising. The read-outs C_t are carried back through the transitions, one token
    at a time, all of them at once; nothing of tokens x tokens is built.

    Raises ValueError where the recurrence has no input and output maps.
    """
    read, write = recurrence.output_map, recurrence.input_map
    if read is None or write is None:
        message = f"a {recurrence.mode} recurrence has no input and output maps"
        raise ValueError(message)
    heads, operator = recurrence.operator.heads, recurrence.operator
    multiplied = isinstance(read, Contraction) and isinstance(write, OuterProduct)
    if recurrence.mode == "data" and isinstance(operator, ScalarDecay) and multiplied:
        return _scalar_rows(operator, read, write, times)  # type: ignore[arg-type]
    last = times[-1]
    began = read.row(last, heads)
    rows = began.new_zeros(began.shape[0], len(times), *began.shape[1:])
    columns = []
    for s in range(last, -1, -1):
        if s in times:
            rows[:, times.index(s)] = read.row(s, heads)
        columns.append(write.reached_by(s, rows).real)
        if s > 0:
            rows = recurrence.at(s).apply_left(rows)
    return torch.stack(columns[::-1], dim=-1)


def _scalar_rows(
    operator: ScalarDecay, read: Contraction, write: OuterProduct, times: Sequence[int]
) -> Tensor:
    """The same where A_t is a number: k(t, s) = exp(sum of log A over s + 1 ... t) C_t B_s.

    One product of matrices for all tokens, and nothing is carried.
    """
    tokens, heads = times[-1] + 1, operator.heads
    queries = torch.stack([read.row(t, heads) for t in times], 1)
    rows = torch.einsum("brhn,bshn->brhs", queries, write.matrix(heads)[:, :tokens])
    each = operator.log_decay[:, :tokens].double().transpose(1, 2)  # (B, H, S)
    # A decay to nothing has no finite logarithm: it is counted instead.
    total = each.masked_fill(each == -math.inf, 0.0).cumsum(-1)
    lost = (each == -math.inf).cumsum(-1)
    for index, t in enumerate(times):
        decay = (total[..., t, None] - total).masked_fill(lost[..., t, None] > lost, -math.inf)
        decay[..., t + 1 :] = -math.inf
        rows[:, index] *= decay.exp().to(rows.dtype)
    return rows


def mean_log_modulus(operator: TransitionOperator) -> Tensor:
    """Mean log|lambda| of A_t per head: (..., H); -inf where an eigenvalue is 0.

    Its sum over the tokens of a lag is log|det|^(1/N) of their product: how much the state shrank.
    """
    if isinstance(operator, SeparableDecay):
        return -operator.step * operator.rate.mean(-1)
    eigenvalues = operator.eigenvalues()
    log_modulus = eigenvalues.log_modulus
    copies = log_modulus.new_tensor(eigenvalues.multiplicities)
    return (log_modulus * (copies / copies.sum())).sum(-1)
