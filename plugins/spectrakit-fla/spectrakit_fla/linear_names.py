"""What fla calls the tensors of its linear layers, below `model.layers.N.attn.`, by role."""

from __future__ import annotations

from collections.abc import Mapping

from spectrakit.architectures.base import Configured, config_value

_PROJECTIONS = {
    "query_projection": "q_proj.weight",
    "key_projection": "k_proj.weight",
    "value_projection": "v_proj.weight",
    "gate_projection": "g_proj.weight",
    "output_projection": "o_proj.weight",
}

_GATED_READ_OUT = _PROJECTIONS | {
    "query_convolution": "q_conv1d.weight",
    "key_convolution": "k_conv1d.weight",
    "value_convolution": "v_conv1d.weight",
    "decay_down": "gk_proj.0.weight",
    "decay_up": "gk_proj.1.weight",
    "decay_bias": "gk_proj.1.bias",
}


def gated_read_out(config: Configured) -> Mapping[str, str]:
    """Of RetNet and GLA: a norm that is fused with the gate has a name that says so."""
    gated = config_value(config, "use_output_gate", bool, True)
    fused = gated and config_value(config, "fuse_norm", bool, True)
    norm = "g_norm_swish_gate.weight" if fused else "g_norm.weight"
    return _GATED_READ_OUT | {"output_norm": norm}


LINEAR_ATTENTION = _PROJECTIONS | {
    "output_norm": "norm.weight",
    # of the feature maps: "elementwise_product" has two layers, "t2r" and "hedgehog" one
    "query_features": "feature_map_q.layer.weight",
    "query_features_bias": "feature_map_q.layer.bias",
    "query_features1": "feature_map_q.layer1.weight",
    "query_features1_bias": "feature_map_q.layer1.bias",
    "query_features2": "feature_map_q.layer2.weight",
    "query_features2_bias": "feature_map_q.layer2.bias",
    "key_features": "feature_map_k.layer.weight",
    "key_features_bias": "feature_map_k.layer.bias",
    "key_features1": "feature_map_k.layer1.weight",
    "key_features1_bias": "feature_map_k.layer1.bias",
    "key_features2": "feature_map_k.layer2.weight",
    "key_features2_bias": "feature_map_k.layer2.bias",
}

HGRN = {
    "query_projection": "q_proj.weight",  # of HGRN2 alone
    "forget_projection": "f_proj.weight",
    "input_projection": "i_proj.weight",
    "gate_projection": "g_proj.weight",
    "output_projection": "o_proj.weight",
    "query_convolution": "q_conv1d.weight",
    "forget_convolution": "f_conv1d.weight",
    "input_convolution": "i_conv1d.weight",
    "output_norm": "g_norm.weight",
    "lower_bounds": "model.lower_bounds",
}

FORGETTING_ATTENTION = _PROJECTIONS | {
    "query_bias": "q_proj.bias",
    "key_bias": "k_proj.bias",
    "value_bias": "v_proj.bias",
    "query_norm": "q_norm.weight",
    "key_norm": "k_norm.weight",
    "forget_projection": "f_proj.weight",
    "forget_bias": "f_proj.bias",
}
