"""What passes through torch's own softmax and attention functions while a model runs."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from spectrakit.architectures.attention_interface import recorded_attention
from spectrakit.architectures.taps import Call, Record
from spectrakit.mixers.attention_scores import GivenMask, Scores

_SOFTMAX = {functional.softmax, torch.softmax, Tensor.softmax}
_PRODUCT = {torch.matmul, Tensor.matmul, Tensor.__matmul__, torch.bmm, Tensor.bmm}


class SoftmaxMode(TorchFunctionMode):
    """Records a softmax over T x T scores, and the product that reads the values with its weights.

    As one call, with the arguments `weights` (..., T, T), `log_normaliser` and `log_odds` (..., T)
    of the scores and `value`, and the product as its output.
    """

    def __init__(self, record: Record) -> None:
        super().__init__()
        self._record = record
        #: The last softmax that no product has followed yet.
        self._open: dict[str, Tensor] | None = None

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401  (what `func` returns)
        """Run `func`, and keep what it says about an attention."""
        output = func(*args, **(kwargs or {}))
        if func in _SOFTMAX and _is_square(output):
            self._open = {
                "weights": output,
                "log_normaliser": log_normaliser(args[0]),
                "log_odds": log_odds(args[0]),
            }
        elif func in _PRODUCT and self._open is not None:
            weights, value = args
            if _is_square(weights) and weights.numel() == self._open["weights"].numel():
                self._record(Call({**self._open, "value": value}, output))
                self._open = None
        return output


def _is_square(x: Tensor) -> bool:
    return x.dim() >= 3 and x.shape[-1] == x.shape[-2]


def log_normaliser(scores: Tensor) -> Tensor:
    """LSE (..., T) of scores (..., T, T); -inf for tokens whose scores are all masked.

    Eager attention masks with the lowest number there is, not with -inf.
    """
    found = torch.logsumexp(scores.float(), dim=-1)
    return found.masked_fill(found <= torch.finfo(scores.dtype).min / 2, -torch.inf)


def log_odds(scores: Tensor) -> Tensor:
    """Of each token's weight on itself, (..., T) in float64: see `mixers.log_normaliser`."""
    own = scores.diagonal(dim1=-2, dim2=-1).double()
    own = own.masked_fill(own <= torch.finfo(scores.dtype).min / 2, -torch.inf)
    onwards = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu()
    past = log_normaliser(scores.masked_fill(onwards, -torch.inf))
    return (own - past).masked_fill(own.isneginf(), -torch.inf)


class ScaledDotProductMode(TorchFunctionMode):
    """Does torch's `scaled_dot_product_attention`, and records it with its log-normaliser."""

    def __init__(self, record: Record) -> None:
        super().__init__()
        self._record = record

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401  (what `func` returns)
        """Run `func`, or ours in the place of a causal attention."""
        kwargs = kwargs or {}
        if func is not functional.scaled_dot_product_attention:
            return func(*args, **kwargs)
        call = _SIGNATURE.bind(*args, **kwargs).arguments
        mask = call.get("attn_mask")
        if mask is None and not call.get("is_causal"):
            return func(*args, **kwargs)  # every token sees all others: no recurrence
        scale = call.get("scale")
        scores = Scores(
            call["query"],
            call["key"],
            call["query"].shape[-1] ** -0.5 if scale is None else scale,
            None if mask is None else GivenMask(mask),
        )
        return recorded_attention(scores, call["value"], self._record)


def _scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> None:
    """The arguments of torch's, which has no signature of its own."""


_SIGNATURE = inspect.signature(_scaled_dot_product_attention)
