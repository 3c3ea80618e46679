"""RetNet, linear attention, GLA, HGRN, HGRN2 and the forgetting transformer, as fla saves them."""

from __future__ import annotations

from typing import ClassVar, get_args

from spectrakit.architectures.base import Configured, config_value, positive
from spectrakit.errors import MalformedError
from spectrakit_fla import linear_names
from spectrakit_fla.families import Family, always
from spectrakit_fla.mixers.feature_maps import FeatureMap
from spectrakit_fla.mixers.forgetting_attention import ForgettingAttention
from spectrakit_fla.mixers.gla import GLA
from spectrakit_fla.mixers.hgrn import HGRN
from spectrakit_fla.mixers.hgrn2 import HGRN2
from spectrakit_fla.mixers.linear_attention import FeatureAttention
from spectrakit_fla.mixers.pieces import ReadOut
from spectrakit_fla.mixers.retention import MultiScaleRetention
from spectrakit_fla.model import FlaModel
from spectrakit_fla.options import (
    choice,
    convolution_width,
    groups_of,
    pairs,
    require_usual,
    split,
    times,
)


class RetNetModel(FlaModel):
    """RetNet's MLP is half as wide as the others', its heads' values being twice as wide."""

    hidden_ratio: ClassVar[float] = 2


def retention(config: Configured, layer: int) -> MultiScaleRetention:  # noqa: ARG001  (a family's)
    """The same in every layer."""
    # fla's model does not hand `use_short_conv` to its layers, so no weights belong to it.
    require_usual(config, {"feature_map": None, "use_short_conv": False})
    width = positive(config, "hidden_size", 2048)
    heads = positive(config, "num_heads", 8)
    return MultiScaleRetention(
        heads,
        state_size=pairs(config, times(config, "expand_k", 1.0, width), heads),
        head_width=split(config, times(config, "expand_v", 2.0, width), heads, "values"),
        model_width=width,
        groups=groups_of(config, heads),
        read_out=_read_out(config),
    )


def linear_attention(config: Configured, layer: int) -> FeatureAttention:  # noqa: ARG001
    """The same in every layer."""
    require_usual(config, {"output_norm": "rmsnorm"})
    feature_map: FeatureMap = choice(config, "feature_map", get_args(FeatureMap))
    if feature_map in ("hedgehog", "t2r", "elementwise_product"):
        # One map under two names, of which a file has either or both.
        require_usual(config, {"tie_feature_map_qk": False})
    width = positive(config, "hidden_size", 2048)
    heads = positive(config, "num_heads", 4)
    return FeatureAttention(
        model_width=width,
        heads=heads,
        groups=groups_of(config, heads),
        key_width=split(config, times(config, "expand_k", 1.0, width), heads, "keys"),
        head_width=split(config, times(config, "expand_v", 1.0, width), heads, "values"),
        feature_map=feature_map,
        normed_query=config_value(config, "norm_q", bool, False),
        normed_key=config_value(config, "norm_k", bool, False),
        normalised=config_value(config, "norm_feature_map", bool, False),
        norm_epsilon=_norm_epsilon(config),
        affine=_affine(config),
    )


def gla(config: Configured, layer: int) -> GLA:  # noqa: ARG001  (a family's)
    """The same in every layer."""
    require_usual(
        config,
        {
            "feature_map": None,
            "use_gk": True,
            "use_gv": False,
            "gate_logit_normalizer": 16,
        },
    )
    width = positive(config, "hidden_size", 2048)
    heads = positive(config, "num_heads", 4)
    clamp = config.config.get("clamp_min")
    return GLA(
        model_width=width,
        heads=heads,
        groups=groups_of(config, heads),
        state_size=split(config, times(config, "expand_k", 0.5, width), heads, "keys"),
        head_width=split(config, times(config, "expand_v", 1.0, width), heads, "values"),
        gate_rank=positive(config, "gate_low_rank_dim", 16),
        clamp=None if clamp is None else config_value(config, "clamp_min", float),
        convolution_width=convolution_width(config, default=False),
        read_out=_read_out(config),
    )


def hgrn(config: Configured, layer: int) -> HGRN:
    """HGRN, whose lower bound depends on the layer."""
    width = positive(config, "hidden_size", 2048)
    return HGRN(
        model_width=width,
        channels=times(config, "expand_ratio", 1, width),
        layer=layer,
        layers=_bounded_layers(config),
        convolution_width=convolution_width(config, default=False),
        norm_epsilon=_norm_epsilon(config),
        affine=_affine(config),
    )


def hgrn2(config: Configured, layer: int) -> HGRN2:
    """HGRN2, whose lower bound depends on the layer."""
    width = positive(config, "hidden_size", 2048)
    state_size, heads = _expansion(config, width)
    return HGRN2(
        model_width=width,
        heads=heads,
        state_size=state_size,
        head_width=split(config, width, heads, "values"),
        layer=layer,
        layers=_bounded_layers(config),
        convolution_width=convolution_width(config, default=False),
        affine=_affine(config),
    )


def forgetting_attention(config: Configured, layer: int) -> ForgettingAttention:  # noqa: ARG001
    """The same in every layer."""
    # fla's layer keeps the window for generation alone: its forward pass attends to all tokens.
    require_usual(config, {"window_size": None, "attn": None})
    width = positive(config, "hidden_size", 2048)
    heads = positive(config, "num_heads", 32)
    return ForgettingAttention(
        heads,
        model_width=width,
        groups=groups_of(config, heads),
        head_width=split(config, width, heads, "attention"),
        bias=config_value(config, "qkv_bias", bool, False),
        normed=config_value(config, "qk_norm", bool, False),
        gated=config_value(config, "use_output_gate", bool, False),
    )


def _read_out(config: Configured) -> ReadOut:
    gated = config_value(config, "use_output_gate", bool, True)
    return ReadOut(_norm_epsilon(config), "swish" if gated else None, _affine(config))


def _affine(config: Configured) -> bool:
    affine: bool = config_value(config, "elementwise_affine", bool, True)
    return affine


def _norm_epsilon(config: Configured) -> float:
    epsilon: float = config_value(config, "norm_eps", float, 1e-6)
    return epsilon


def _bounded_layers(config: Configured) -> int | None:
    """Rows of the lower bounds; None where the gates have none."""
    if not config_value(config, "use_lower_bound", bool, True):
        return None
    return positive(config, "num_hidden_layers", 24)


def _expansion(config: Configured, width: int) -> tuple[int, int]:
    """N and H of HGRN2: `expand_ratio`, or else `num_heads`, decides.

    Raises MalformedError where there are then fewer keys than model channels.
    """
    # Null is a value of its own here: without the key, fla has 128.
    ratio = config.config.get("expand_ratio", 128)
    if ratio is None:
        heads = positive(config, "num_heads")
        state_size = split(config, width, heads, "keys")
    else:
        state_size = positive(config, "expand_ratio", 128)
        heads = width // state_size
    if heads * state_size != width:
        message = (
            f"config.json of {config.model_id}: hidden_size = {width} "
            f"is no multiple of expand_ratio = {state_size}"
        )
        raise MalformedError(message)
    return state_size, heads


LINEAR_FAMILIES = (
    Family("retnet", retention, linear_names.gated_read_out, model=RetNetModel),
    Family("linear_attn", linear_attention, always(linear_names.LINEAR_ATTENTION)),
    Family("gla", gla, linear_names.gated_read_out),
    Family("hgrn", hgrn, always(linear_names.HGRN), precise=("lower_bounds",)),
    Family("hgrn2", hgrn2, always(linear_names.HGRN), precise=("lower_bounds",)),
    Family(
        "forgetting_transformer", forgetting_attention, always(linear_names.FORGETTING_ATTENTION)
    ),
)
