"""What a recurrence does end to end, whatever gauge its state is kept in.

    y_t = sum_{s <= t} k(t, s) u_s + D u_t,        k(t, s) = C_t A_t A_{t-1} ... A_{s+1} B_s

The kernel k and with it |k(t, s)| by lag t - s do not change under h_t -> s_t h_t; eigenvalues of a
time-varying A_t do. For softmax attention the kernel is the attention weight itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import singledispatch
from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import
from spectrakit.dynamics.diagonal_products import Diagonal, products_to_last
from spectrakit.dynamics.maps import OuterProduct
from spectrakit.dynamics.operators import DiagonalDecay, ScalarDecay, SeparableDecay

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from spectrakit.dynamics.maps import InputMap, OutputMap
    from spectrakit.dynamics.operators import TransitionOperator
    from spectrakit.dynamics.recurrence import Recurrence
else:
    torch = lazy_import("torch")


def kernel_rows(recurrence: Recurrence, times: Sequence[int]) -> Tensor:
    """k(t, s) of the tokens t in `times` and every s: (B, R, H, max(times) + 1), 0 where s > t.

    times: R of them, rising. The read-outs C_t are carried back through the transitions, all of
    them at once; nothing of tokens x tokens is built.

    Raises ValueError where the recurrence has no input and output maps.
    """
    # The same in every gauge, and in this one its factors are no products of scales.
    recurrence = recurrence.as_read
    read, write = recurrence.output_map, recurrence.input_map
    if read is None or write is None:
        message = f"a {recurrence.mode} recurrence has no input and output maps"
        raise ValueError(message)
    if recurrence.mode == "data" and isinstance(recurrence.operator, Diagonal):
        return _by_section(recurrence.operator, read, write, times)
    last, heads = times[-1], recurrence.operator.heads
    began = read.row(last, heads)
    rows = began.new_zeros(began.shape[0], len(times), *began.shape[1:])
    columns = []
    for s in range(last, -1, -1):
        if s in times:
            rows[:, times.index(s)] = read.row(s, heads)
        columns.append(write.reached_by(slice(s, s + 1), rows).real)
        if s > 0:
            rows = recurrence.at(s).apply_left(rows)
    # A read-out that is the same for every token meets the sequences in the first transition.
    return torch.cat([column.expand(len(rows), -1, -1, -1) for column in columns[::-1]], dim=-1)


def _by_section(
    operator: Diagonal, read: OutputMap, write: InputMap, times: Sequence[int]
) -> Tensor:
    """The same for a diagonal A_t: from one of the `times` to the next in one step.

    With t_j the last token of the section that s is in,

        k(t_i, s) = (C_{t_i} A_{t_i} ... A_{t_j + 1}) (A_{t_j} ... A_{s+1} B_s)

    where a decay makes neither factor larger.
    """
    heads, last = operator.heads, times[-1]
    began = read.row(last, heads)
    dtype = began.dtype
    # Where A_t is a number it commutes with B_s, which need not be multiplied out.
    written = None if isinstance(operator, ScalarDecay) else write.matrix(heads)
    if written is not None:
        dtype = torch.promote_types(dtype, written.dtype)
        if written.shape[1] == 1:
            written = written.expand(-1, last + 1, -1, -1)
    if isinstance(operator, DiagonalDecay) and operator.phase is not None:
        dtype = torch.promote_types(dtype, torch.complex64)
    rows = began.new_zeros(began.shape[0], len(times), *began.shape[1:], dtype=dtype)
    sections = []
    for index in range(len(times) - 1, -1, -1):
        rows[:, index] = read.row(times[index], heads)
        tokens = slice(times[index - 1] + 1 if index else 0, times[index] + 1)
        products = products_to_last(operator, tokens).values().to(dtype)
        decay = products[:, 1:]
        if written is None:
            reached = write.reached_by(tokens, rows) * decay.squeeze(-1).mT.unsqueeze(1)
        else:
            reached = OuterProduct(written[:, tokens] * decay).reached_by(slice(None), rows)
        sections.append(reached.real)
        rows = rows * products[:, :1]
    return torch.cat(sections[::-1], dim=-1)


@singledispatch
def mean_log_modulus(operator: TransitionOperator) -> Tensor:
    """Mean log|lambda| of A_t per head: (..., H); -inf where an eigenvalue is 0.

    Its sum over the tokens of a lag is log|det|^(1/N) of their product: how much the state shrank.
    """
    return 0 - operator.eigenvalues().mean_decay_rate


@mean_log_modulus.register(SeparableDecay)
def _(operator: SeparableDecay) -> Tensor:
    return -operator.step * operator.rate.mean(-1)
