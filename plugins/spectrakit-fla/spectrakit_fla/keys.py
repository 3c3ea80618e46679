"""Keys of fla's configs: those that decide what is read, and those that decide nothing.

A key that any family asks for counts as read in all of them: fla's own configs of one family hold
few of another's.
"""

from __future__ import annotations

from spectrakit.architectures.config_keys import ConfigKeys, words

KEYS = ConfigKeys(
    reads=words(
        """
        a_low_rank_dim allow_neg_eigval attn attnres_block_size clamp_min conv_bias conv_size
        decay_low_rank_dim elementwise_affine expand_k expand_ratio expand_v feature_map fuse_norm
        gate_logit_normalizer gate_low_rank_dim head_dim hidden_act hidden_ratio hidden_size
        initializer_range intermediate_size lower_bound norm_bias norm_eps norm_feature_map
        norm_first norm_k norm_q num_heads num_hidden_layers num_householder num_kv_heads
        num_v_heads output_norm proj_low_rank_dim qk_activation qk_norm qkv_bias safe_gate
        share_conv_kernel tie_feature_map_qk use_beta use_forget_gate use_gate use_gk use_gv
        use_lower_bound use_output_gate use_short_conv v_low_rank_dim value_dim window_size
        """
    ),
    # Kernels, their precision, and what training adds to the loss.
    irrelevant=words(
        """
        attn_mode chunk_size fuse_cross_entropy fuse_linear_cross_entropy fuse_swiglu
        max_position_embeddings use_l2warp
        """
    ),
)
