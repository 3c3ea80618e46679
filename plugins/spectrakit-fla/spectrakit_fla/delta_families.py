"""The families of fla whose layers erase before they write: sizes, options and names.

    model.layers.N.attn.{q,k,v,b}_proj.weight          .{q,k,v}_conv1d.weight (use_short_conv)
                       .a_proj.weight .A_log .dt_bias  the decay, but for DeltaNet
                       .f_proj.{0,1}.weight            in Kimi delta attention instead of a_proj
                       .g_proj.weight .o_norm.weight .o_proj.weight
                       .g_proj.{0,1}.weight .g_proj.1.bias   the gate of Kimi delta attention
                       .decay .D                       of Comba

Options that fla's models do not hand on to their layers are not read: the layer's own default holds
whatever the config says. These are `use_output_norm` of DeltaNet, `num_v_heads` of Gated
DeltaProduct, and `use_inner_decay`, `use_output_correction` and `correction_factor` of Comba.
"""

from __future__ import annotations

from typing import Literal, TypedDict, get_args

from spectrakit.architectures.base import Configured, config_value, positive
from spectrakit.errors import MalformedError, UnsupportedError
from spectrakit_fla.families import Family, always
from spectrakit_fla.initial import initial_kimi_delta
from spectrakit_fla.mixers.comba import Comba
from spectrakit_fla.mixers.delta_layer import Activation
from spectrakit_fla.mixers.delta_net import DeltaNet, Scaling
from spectrakit_fla.mixers.deltaproduct import DeltaProductLayer, GatedDeltaProductLayer
from spectrakit_fla.mixers.gated_deltanet import GatedDeltaNetLayer
from spectrakit_fla.mixers.kimi_delta import KimiDeltaLayer
from spectrakit_fla.mixers.pieces import ReadOut
from spectrakit_fla.options import choice, convolution_width, split, times

_NAMES = {
    "query_projection": "q_proj.weight",
    "key_projection": "k_proj.weight",
    "value_projection": "v_proj.weight",
    "query_convolution": "q_conv1d.weight",
    "key_convolution": "k_conv1d.weight",
    "value_convolution": "v_conv1d.weight",
    "beta_projection": "b_proj.weight",
    "step_projection": "a_proj.weight",
    "A_log": "A_log",
    "step_bias": "dt_bias",
    "gate_projection": "g_proj.weight",
    "output_norm": "o_norm.weight",
    "output_projection": "o_proj.weight",
}
_KIMI_DELTA_NAMES = _NAMES | {
    "step_down": "f_proj.0.weight",
    "step_up": "f_proj.1.weight",
    "gate_down": "g_proj.0.weight",
    "gate_up": "g_proj.1.weight",
    "gate_bias": "g_proj.1.bias",
}
_COMBA_NAMES = _NAMES | {"inner_decay": "decay", "correction": "D"}
_DECAYS = ("A_log", "step_bias")


class _Sizes(TypedDict):
    model_width: int
    heads: int
    groups: int
    state_size: int
    head_width: int
    convolution_width: int | None


def delta_net(config: Configured, layer: int) -> DeltaNet:  # noqa: ARG001  (a family's)
    """The same in every layer."""
    width, heads = positive(config, "hidden_size", 2048), positive(config, "num_heads", 16)
    return DeltaNet(
        model_width=width,
        heads=heads,
        groups=heads,
        state_size=split(config, times(config, "expand_k", 1.0, width), heads, "keys"),
        head_width=split(config, times(config, "expand_v", 1.0, width), heads, "values"),
        convolution_width=convolution_width(config, default=True),
        read_out=_read_out(config, gated=config_value(config, "use_gate", bool, False)),
        largest_beta=_largest_beta(config),
        activation=choice(config, "qk_activation", get_args(Activation)),
        scaling=choice(config, "qk_norm", get_args(Scaling)),
        learned_beta=config_value(config, "use_beta", bool, True),
    )


def gated_deltanet(config: Configured, layer: int) -> GatedDeltaNetLayer:  # noqa: ARG001
    """The same in every layer."""
    return GatedDeltaNetLayer(
        **_sizes(config, "num_v_heads", num_heads=6, head_dim=256, expand_v=2.0),
        read_out=_read_out(config, gated=config_value(config, "use_gate", bool, True)),
        largest_beta=_largest_beta(config),
    )


def gated_deltaproduct(
    config: Configured,
    layer: int,  # noqa: ARG001
) -> DeltaProductLayer | GatedDeltaProductLayer:
    """The same in every layer, and without a forget gate unless the config says so."""
    gated = config_value(config, "use_forget_gate", bool, False)
    kind = GatedDeltaProductLayer if gated else DeltaProductLayer
    return kind(
        **_sizes(config, "num_heads", num_heads=6, head_dim=256, expand_v=2.0),
        read_out=_read_out(config, gated=config_value(config, "use_output_gate", bool, True)),
        largest_beta=_largest_beta(config),
        writes=positive(config, "num_householder", 1),
    )


def kda(config: Configured, layer: int) -> KimiDeltaLayer:  # noqa: ARG001
    """The same in every layer."""
    sizes = _sizes(config, "num_v_heads", num_heads=16, head_dim=128, expand_v=1.0)
    return KimiDeltaLayer(
        **sizes,
        read_out=_read_out(config, gated=False),
        largest_beta=_largest_beta(config),
        rate_shape=(sizes["heads"],),
        lower_bound=_lower_bound(config),
    )


def comba(config: Configured, layer: int) -> Comba:  # noqa: ARG001
    """The same in every layer.

    Raises UnsupportedError where heads share keys.
    """
    sizes = _sizes(config, "num_v_heads", num_heads=6, head_dim=256, expand_v=2.0)
    if sizes["heads"] != sizes["groups"]:
        # fla's kernels then read p_t past its end: there is nothing to agree with.
        message = f"{config.model_id}: num_v_heads above num_heads is not read of Comba"
        raise UnsupportedError(message, hint="spectrakit plugins list")
    gated = config_value(config, "use_output_gate", bool, True)
    return Comba(**sizes, read_out=_read_out(config, gated=gated, gate="sigmoid"))


def _sizes(
    config: Configured, heads_key: str, *, num_heads: int, head_dim: int, expand_v: float
) -> _Sizes:
    """Of a layer whose keys have `head_dim` channels; the others are the defaults.

    heads_key: of the number of heads that the values have.

    Raises MalformedError where they cannot share the keys.
    """
    groups = positive(config, "num_heads", num_heads)
    heads = positive(config, heads_key, groups)
    if heads % groups:
        message = (
            f"config.json of {config.model_id}: {heads_key} = {heads} "
            f"is no multiple of num_heads = {groups}"
        )
        raise MalformedError(message)
    state_size = positive(config, "head_dim", head_dim)
    return _Sizes(
        model_width=positive(config, "hidden_size", 2048),
        heads=heads,
        groups=groups,
        state_size=state_size,
        head_width=times(config, "expand_v", expand_v, state_size),
        convolution_width=convolution_width(config, default=True),
    )


def _read_out(
    config: Configured, *, gated: bool, gate: Literal["swish", "sigmoid"] = "swish"
) -> ReadOut:
    return ReadOut(config_value(config, "norm_eps", float, 1e-6), gate if gated else None)


def _largest_beta(config: Configured) -> float:
    return 2.0 if config_value(config, "allow_neg_eigval", bool, False) else 1.0


def _lower_bound(config: Configured) -> float | None:
    """`lower_bound` of the log-decay, which holds with or without `safe_gate`.

    Raises MalformedError where it is none.
    """
    if config.config.get("lower_bound") is None:
        return None
    bound: float = config_value(config, "lower_bound", float)
    if not bound < 0:
        message = f"config.json of {config.model_id}: lower_bound = {bound} is not negative"
        raise MalformedError(message)
    return bound


DELTA_FAMILIES = (
    Family("delta_net", delta_net, always(_NAMES)),
    Family("gated_deltanet", gated_deltanet, always(_NAMES), _DECAYS),
    Family("gated_deltaproduct", gated_deltaproduct, always(_NAMES), _DECAYS),
    Family("kda", kda, always(_KIMI_DELTA_NAMES), _DECAYS, initial=initial_kimi_delta),
    Family("comba", comba, always(_COMBA_NAMES), _DECAYS),
)
