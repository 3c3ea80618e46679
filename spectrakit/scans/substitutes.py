"""Faster functions in place of the scan functions of transformers' modelling files.

Without a GPU and its kernels, transformers computes a scan by reference code that builds arrays of
tokens x channels x states; that is most of the time of a forward pass. The same sums, up to the
order in which they are rounded, need none of these arrays.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from spectrakit._lazy import lazy_import
from spectrakit.scans import chunked, time_major

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torch.nn import functional
else:
    torch = lazy_import("torch")
    functional = lazy_import("torch.nn.functional")

Scanned: TypeAlias = "Tensor | tuple[Tensor, Tensor]"

#: Updates of a single state in one call from which on the compiled scan saves enough to be worth
#: importing: it takes .6 s to get ready, and .02 s less than torch for so many.
COMPILED_FROM = 1 << 24


def fast_scan(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
    """A function that gives what `original`, a scan function called `name`, gives, but faster.

    For `mamba_selective_scan` and `mamba2_chunk_scan` of transformers 5.16 and later. Calls on
    another device than the CPU, in half precision or with gradients go to `original`; for any other
    name the result is `original` itself. In float64, everything is computed in float64, where
    transformers' own code rounds some of it to float32.
    """
    substitute = _SUBSTITUTES.get(name)
    if substitute is None:
        return original

    @functools.wraps(original)
    def scan(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  (as the original's)
        scanned = substitute(*args, **kwargs)
        return original(*args, **kwargs) if scanned is None else scanned

    return scan


def _selective_scan(
    hidden_states: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    return_last_state: bool = False,
    **options: object,
) -> Scanned | None:
    """`mamba_selective_scan`; None where it has to be the original.

    hidden_states, dt, z: (B, D, T). A: (D, N). B, C: (B, N, T). D, delta_bias: (D,).
    """
    if not _computable((hidden_states, dt, B, C, z), (A, D, delta_bias), options):
        return None
    dtype = hidden_states.dtype
    step = dt if delta_bias is None else dt + delta_bias.to(dtype)[:, None]
    if delta_softplus:
        step = functional.softplus(step)
    scan = time_major.selective_scan
    if dtype == torch.float32 and hidden_states.numel() * A.shape[1] >= COMPILED_FROM:
        scan = compiled_selective_scan() or scan
    y, state = scan(step, hidden_states, A.to(dtype), B, C, _cast(D, dtype))
    if z is not None:
        y *= functional.silu(z)
    return (y, state) if return_last_state else y


def _chunk_scan(
    hidden_states: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    chunk_size: int,  # noqa: ARG001  (the original's: a way of computing the same)
    D: Tensor | None = None,
    dt_bias: Tensor | None = None,
    initial_states: Tensor | None = None,
    dt_softplus: bool = False,
    dt_limit: tuple[float, float] = (0.0, math.inf),
    return_final_states: bool = False,
    **options: object,
) -> Scanned | None:
    """`mamba2_chunk_scan`; None where it has to be the original.

    hidden_states: (B, T, H, P). dt: (B, T, H). A, D, dt_bias: (H,). B, C: (B, T, G, N).
    initial_states: (B, H, P, N).
    """
    if not _computable((hidden_states, dt, B, C), (A, D, dt_bias, initial_states), options):
        return None
    dtype = hidden_states.dtype
    step = dt if dt_bias is None else dt + dt_bias.to(dtype)
    if dt_softplus:
        step = functional.softplus(step)
    step = step.clamp(*dt_limit)
    start = _cast(initial_states, dtype)
    scan = chunked.chunk_scan
    y, state = scan(step, hidden_states, A.to(dtype), B, C, _cast(D, dtype), start)
    return (y, state) if return_final_states else y


_SUBSTITUTES: Mapping[str, Callable[..., Scanned | None]] = {
    "mamba_selective_scan": _selective_scan,
    "mamba2_chunk_scan": _chunk_scan,
}


@functools.cache
def compiled_selective_scan() -> Callable[..., tuple[Tensor, Tensor]] | None:
    """The scan compiled by numba; None where numba is not installed, or not for this NumPy."""
    try:
        from spectrakit.scans import compiled
    except ImportError:
        return None
    return compiled.selective_scan


#: Arguments that choose between ways of computing the same.
_WAYS = frozenset({"use_mambapy", "use_associative_scan"})


def _computable(
    activations: Sequence[Tensor | None],
    parameters: Sequence[Tensor | None],
    options: Mapping[str, object],
) -> bool:
    """Whether a call is one for the CPU in float32 or float64, with no gradient to record.

    Activations are all of one type; parameters may be of another. `options` are arguments that
    only the original may know.
    """
    if any(value is not None for name, value in options.items() if name not in _WAYS):
        return False
    types = {x.dtype for x in activations if x is not None}
    given = [x for x in (*activations, *parameters) if x is not None]
    return (
        types in ({torch.float32}, {torch.float64})
        and all(x.device.type == "cpu" for x in given)
        and not (torch.is_grad_enabled() and any(x.requires_grad for x in given))
    )


def _cast(parameter: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    return None if parameter is None else parameter.to(dtype)
