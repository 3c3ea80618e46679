"""Layers as the released analysis of arXiv 2510.09379 sees them, for comparison with its figures.

Its code departs from the mathematics of its paper, and from what the model does, in these ways:

    softmax   nu_t = sum_{s <= t} exp(q_t . k_s) + (T - 1 - t)
              scores without the model's scale, and every future token counted as exp(0)
    q, k      the layer's projections of the *output* of its block, without the block's norm, and
              without convolutions, norms of q and k, or rotary embeddings
    Mamba-2   Delta_t = softplus(W_dt x_t + bias) of that same output x
    S4        channel 1 alone (see `spectrakit.analyses.rickenbach2025.analysis`)

B batch, T tokens, H heads, G groups of keys, K key width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from spectrakit._lazy import lazy_import
from spectrakit.architectures.residual_stream import block_of
from spectrakit.architectures.taps import ModuleSource, Seen, Tap, first
from spectrakit.architectures.transformers_model import TransformersModel
from spectrakit.dynamics import Gauge, Recurrence, ScalarDecay
from spectrakit.errors import UnsupportedError
from spectrakit.mixers import Mamba2, Observation
from spectrakit.mixers.attention_scores import Scores
from spectrakit.mixers.log_normaliser import attend
from spectrakit.mixers.softmax_attention import SoftmaxAttention
from spectrakit.wording import given, named

#: The label that keeps these numbers apart from the exact ones in tables of both.
_GAUGE: Gauge = "rickenbach2025"

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from spectrakit.architectures.base import Layer, RunnableModel
    from spectrakit.mixers import Mixer
else:
    torch = lazy_import("torch")


def as_released(model: RunnableModel) -> TransformersModel:
    """`model` with its softmax attention and Mamba-2 layers seen as the released analysis does.

    Raises UnsupportedError where it has layers that the paper does not analyse.
    """
    if not isinstance(model, TransformersModel):
        message = f"{given(compat='rickenbach2025')} needs a model of transformers"
        raise UnsupportedError(message, hint=f"leave {named('compat')} out")
    layers: list[Layer] = []
    taps = {}
    for layer in model.layers:
        block = block_of(layer.path)
        if block == layer.path or block in (other.path for other in layers):
            message = f"layer {layer.index} ({layer.path}) does not have a block of its own"
            raise UnsupportedError(message, hint=f"leave {named('compat')} out")
        layers.append(replace(layer, path=block))
        inside = layer.path.removeprefix(f"{block}.")
        taps[layer.index] = Tap(ModuleSource(), partial(_reader(layer), inside))
    return TransformersModel(model.model, layers, taps, body=model.body, around=model.around)


def _reader(layer: Layer) -> Callable[[str, Mixer, Seen], Observation]:
    if isinstance(layer.mixer, SoftmaxAttention):
        return read_attention
    if isinstance(layer.mixer, Mamba2) and layer.path.endswith(".mixer"):
        return read_mamba2
    message = f"arXiv 2510.09379 analyses no {layer.kind} layer (layer {layer.index})"
    raise UnsupportedError(message, hint=f"leave {named('compat')} out")


def read_attention(inside: str, mixer: Mixer, seen: Seen) -> Observation:
    """From the output of a block whose attention is at `inside`."""
    hidden = first(seen.output)
    query, key = projected(seen.module.get_submodule(inside), hidden, mixer.heads)
    log_normaliser = released_log_normaliser(query, key)
    previous = log_normaliser.roll(1, dims=1)
    starts = torch.zeros(hidden.shape[:2], dtype=torch.bool, device=hidden.device)
    starts[:, 0] = True
    decay = ScalarDecay(previous - log_normaliser, 1)
    return Observation(Recurrence(decay, "data", _GAUGE, "head", 1, starts=starts), hidden)


def read_mamba2(inside: str, mixer: Mixer, seen: Seen) -> Observation:
    """From the output of a block whose Mamba-2 mixer is at `inside`."""
    assert isinstance(mixer, Mamba2)  # noqa: S101  (`_reader` pairs them)
    hidden = first(seen.output)
    module: Any = seen.module.get_submodule(inside)
    raw = module.in_proj(hidden)[..., -mixer.heads :].double()
    step = mixer.step(raw, module.dt_bias.double())
    decay = ScalarDecay(-step * module.A_log.double().exp(), mixer.state_size)
    recurrence = Recurrence(decay, "data", _GAUGE, "head", mixer.head_width, step=step)
    return Observation(recurrence, hidden)


def released_log_normaliser(query: Tensor, key: Tensor) -> Tensor:
    """Log nu_t (B, T, H) as released, from query (B, H, T, K) and key (B, G, T, K)."""
    past = attend(Scores(query, key, 1.0), key).log_normaliser
    past = past.double()
    tokens = past.shape[-1]
    future = torch.arange(tokens - 1, -1, -1, device=past.device).double().log()
    return torch.logaddexp(past, future).transpose(1, 2)


def projected(attention: nn.Module, hidden: Tensor, heads: int) -> tuple[Tensor, Tensor]:
    """The attention's own projections of `hidden`: query (B, H, T, K) and key (B, G, T, K).

    Raises UnsupportedError for an attention whose projections are laid out in a way not known here.
    """
    module: Any = attention
    query = key = None
    if type(attention).__name__ == "GPT2Attention":  # all queries, all keys, all values
        query, key, _ = module.c_attn(hidden).chunk(3, dim=-1)
    elif type(attention).__name__ == "GPTNeoXAttention":  # query, key and value of each head
        fused = module.query_key_value(hidden).unflatten(-1, (heads, 3, -1))
        query, key = fused[..., 0, :].flatten(-2), fused[..., 1, :].flatten(-2)
    elif hasattr(module, "q_proj") and hasattr(module, "k_proj"):
        query, key = module.q_proj(hidden), module.k_proj(hidden)
    # A projection with more in it than queries (a gate) is not of the heads' width.
    width = getattr(module, "head_dim", getattr(module, "head_size", None))
    if query is None or key is None or query.shape[-1] != heads * (width or 0):
        kind, compat = type(attention).__name__, named("compat")
        message = f"the projections of {kind} are not known to {compat}"
        raise UnsupportedError(message, hint=f"leave {named('compat')} out")
    query, key = (x.unflatten(-1, (-1, width)).transpose(1, 2) for x in (query, key))
    return query, key
