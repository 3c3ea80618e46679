"""Keys of configs: published ones are known, strange ones named, and given ones read or refused."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

import spectrakit as sk
from docs import config_keys as config_keys_file
from spectrakit.architectures import transformers_config_keys
from spectrakit.architectures.config_keys import (
    OF_ANY_CONFIG,
    ConfigKeys,
    check_given,
    config_keys,
    unknown_keys,
    words,
)
from spectrakit.architectures.transformers_family import PartConfig
from spectrakit.errors import UsageError
from spectrakit.plugins import plugins
from tests.architectures.published_attention_configs import ATTENTION_CONFIGS
from tests.architectures.published_configs import CONFIGS as RECURRENT_CONFIGS
from tests.architectures.published_encoder_configs import ENCODER_CONFIGS
from tests.families import FAMILIES

CONFIGS = RECURRENT_CONFIGS | ATTENTION_CONFIGS | ENCODER_CONFIGS
_BUILT_IN = {
    name: entry.thing
    for name, entry in plugins().register().architectures.things.items()
    if entry.origin.distribution == "spectrakit"
}
_TYPES = {
    model_type: architecture
    for architecture in _BUILT_IN.values()
    for model_type in getattr(architecture, "model_types", ())
}
#: Model types with a spectrum in weights mode.
_RECURRENT = sorted(
    {family.model_type for family in FAMILIES if set(family.kinds) - {"softmax_attention"}}
    & _TYPES.keys()
)


def keys_for(config):
    architecture = _TYPES.get(config.get("model_type"), _BUILT_IN["mamba-ssm"])
    return config_keys(
        architecture, SimpleNamespace(tensors={}, config=config, model_id="some/model")
    )


def test_every_architecture_that_ships_declares_its_keys():
    assert [name for name, thing in _BUILT_IN.items() if not hasattr(thing, "config_keys")] == []


@pytest.mark.parametrize("name", CONFIGS)
def test_published_configs_are_known(name):
    assert unknown_keys(keys_for(CONFIGS[name]), CONFIGS[name]) == ()


@pytest.mark.parametrize("name", CONFIGS)
def test_a_strange_key_is_named_wherever_it_stands(name):
    config = CONFIGS[name]
    keys = keys_for(config)
    sections = {key: value for key, value in config.items() if isinstance(value, dict)}
    opened = [key for key in sections if any(known.startswith(f"{key}.") for known in keys.names)]
    strange = config | {key: sections[key] | {"decay_floor": 0.1} for key in opened}
    expected = {"attention_temperature", *(f"{key}.decay_floor" for key in opened)}
    assert set(unknown_keys(keys, strange | {"attention_temperature": 2.0})) == expected


def test_what_the_issue_met_is_read_now():
    bound = {"linear_attn_config": {"gate_lower_bound": -5.0}, "model_type": "kimi_linear"}
    assert "linear_attn_config.gate_lower_bound" in keys_for(bound).reads
    kimi_k3 = {"num_heads": 4, "use_full_rank_gate": True, "gate_lower_bound": -5.0}
    config = {"model_type": "kimi_linear", "attn_res_block_size": 2, "linear_attn_config": kimi_k3}
    assert unknown_keys(keys_for(config), config) == (
        "attn_res_block_size",
        "linear_attn_config.use_full_rank_gate",
    )
    assert "time_step_limit" in keys_for({"model_type": "nemotron_h"}).reads


def test_a_key_that_is_known_at_one_value_only():
    for value, named in ((True, ()), (None, ()), (False, ("mamba_inner_layernorms",))):
        config = {"model_type": "jamba", "mamba_inner_layernorms": value}
        assert unknown_keys(keys_for(config), config) == named


@pytest.mark.parametrize(
    ("model_type", "key", "known", "strange"),
    [
        ("deepseek_v3", "scoring_func", "sigmoid", "softmax"),
        ("deepseek_v2", "scoring_func", "softmax", "sigmoid"),
        ("minimax_m2", "attn_type_list", [1, 1, 1], [1, 0, 1]),
        ("nemotron_h", "rope_theta", 10000, None),
        ("bert", "position_embedding_type", "absolute", "relative_key"),
        ("xlstm", "cell_norm_eps", 1e-6, 1e-5),
    ],
)
def test_what_the_library_computes_anyway_is_known_at_that_value(model_type, key, known, strange):
    config = {"model_type": model_type, key: known}
    assert unknown_keys(keys_for(config), config) == ()
    if strange is not None:
        assert unknown_keys(keys_for(config), config | {key: strange}) == (key,)


def test_what_one_type_takes_for_granted_is_named_in_another():
    config = {"model_type": "llama", "scoring_func": "sigmoid", "qk_norm": True, "use_mtp": True}
    assert unknown_keys(keys_for(config), config) == ("scoring_func", "qk_norm", "use_mtp")


@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_nothing_in_a_family_s_config_is_unknown(family, tmp_path):
    with sk.open_checkpoint(str(family.write(tmp_path))) as model:
        assert model.unknown_keys == ()


@pytest.mark.parametrize("value", [None, False, [], {}, ""])
def test_what_is_switched_off_is_quiet(value):
    assert unknown_keys(ConfigKeys(), {"some_option": value}) == ()


def test_a_wrapper_s_text_is_looked_into():
    text = CONFIGS["Qwen/Qwen3-Next-80B-A3B-Instruct"] | {"model_type": "qwen3_5_text"}
    text = {key: value for key, value in text.items() if "expert" not in key and "moe" not in key}
    text = {key: value for key, value in text.items() if key not in ("norm_topk_prob",)}
    config = {"model_type": "qwen3_5", "text_config": text, "vision_config": {"depth": 3}}
    config |= {"image_token_id": 5, "vision_start_token_id": 6}
    assert unknown_keys(keys_for(config), config) == ("text_config.decoder_sparse_step",)


@pytest.mark.slow
@pytest.mark.parametrize("model_type", sorted(_TYPES))
def test_the_classes_own_configs_are_known(model_type):
    from transformers import CONFIG_MAPPING

    from spectrakit.architectures.transformers_model import quiet_transformers
    from spectrakit.training.models import backbone  # noqa: F401  (registers "spectrakit")

    with quiet_transformers():
        text = CONFIG_MAPPING[model_type]().to_json_string(use_diff=False)
    config = json.loads(text)
    assert unknown_keys(keys_for(config), config) == ()


@pytest.mark.slow
def test_the_table_is_that_of_the_installed_transformers():
    stored = json.loads(transformers_config_keys.FILE.read_text())
    now = json.loads(config_keys_file.render())
    how = "run `python docs/config_keys.py --write`"
    published = _TYPES.keys() - {"spectrakit"}  # which is ours, and not of transformers
    assert {t: stored["model_types"][t] for t in published} == {
        t: now["model_types"][t] for t in published
    }, how


class Recording(dict):
    """A config that keeps the keys that were asked for."""

    def __init__(self, config, seen):
        super().__init__(config)
        self.seen = seen

    def get(self, key, default=None):
        self.seen.add(key)
        return super().get(key, default)

    def __getitem__(self, key):
        self.seen.add(key)
        return super().__getitem__(key)

    def __contains__(self, key):
        self.seen.add(key)
        return super().__contains__(key)


@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_what_is_looked_at_is_declared(family, tmp_path):
    """By the code that lists the layers; of a section, the section is what is looked at."""
    folder = family.write(tmp_path)
    seen = set()
    with sk.open_checkpoint(str(folder)) as model:
        architecture = model.architecture
        config = Recording(architecture.config(model.checkpoint).config, seen)
        source = PartConfig("model", config)
        architecture.prefixes(source)
        architecture.count(source)
        architecture.blocks(source)
        keys = config_keys(architecture, model.checkpoint)
    sections = {name.partition(".")[0] for name in keys.reads}
    if architecture.name == "transformers-attention":
        seen &= keys.names  # which name a class has for one number is tried in turn
    assert seen <= keys.reads | keys.left | sections


#: What lies around the mixers, or says how weights are drawn and states kept: no A of weights mode
#: depends on it. A key that a config class gains is looked at before it is added here.
AROUND = words(
    """
    adapter_rank add_out_norm attention_bias attention_head_dim attention_hidden_size
    attention_in_multiplier attention_multiplier attention_out_multiplier
    attention_window_size autocast_kernel_dtype block_auto_adjust_ff_dim block_ff_dim
    block_ffn_dim_multiplier block_multiple_of block_size chunk_size chunkwise_kernel
    context_length conv1d_width decoder_sparse_step embedding_multiplier expand
    expert_layer_offset expert_layer_period ffn_proj_factor ffn_round_up_to_multiple_of
    final_w_init_variance_scale first_k_dense_replace full_attn_alpha_factor
    full_attn_beta_factor hc_count hc_eps hc_lowrank hc_mult hc_sinkhorn_iters head_dim
    heads_per_ngram hidden_act hidden_activation hidden_mamba_act hidden_size hybrid_layer_ids
    index_head_dim index_kpool index_kpool_always_select_tail index_n_heads
    index_skip_topk_offset index_topk index_topk_freq index_topk_pattern indexer_budget
    indexer_compress_ratio indexer_head_dim indexer_kv_heads indexer_n_heads indexer_types
    inference_state_dtype intermediate_size key_multiplier kv_channels kv_lora_rank
    layer_norm_epsilon layer_types layers_block_type linear_a_log_max linear_a_log_min
    linear_allow_neg_eigval linear_attn_alpha_factor linear_attn_beta_factor
    linear_attn_config linear_attn_config.short_conv_kernel_size linear_conv_kernel_dim
    linear_dt_init_floor linear_dt_max linear_dt_min linear_num_heads lm_head_multiplier
    logits_scaling logits_soft_cap make_ngram_vocab_size_divisible_by mamba_chunk_size
    mamba_d_head mamba_dt_init_floor mamba_dt_max mamba_dt_min mamba_expand mamba_headdim
    mamba_hidden_act mamba_proj_bias mamba_ssm_cache_dtype max_inference_chunksize
    max_position_embeddings mlp_alpha_factor mlp_beta_factor mlp_bias mlp_hidden_act
    mlp_layer_types mlp_multipliers mlp_only_layers mode model_max_length
    moe_intermediate_size moe_latent_size moe_renormalize moe_shared_expert_intermediate_size
    moe_shared_expert_overlap mtp_hybrid_override_pattern mtp_layers_block_type
    mtp_loss_scaling_factor n_group n_routed_experts n_shared_experts ngram_size
    ngram_vocab_size_base norm_eps norm_reduction_force_float32 norm_topk_prob
    num_dense_layers num_expert_group num_experts num_experts_per_tok num_experts_per_token
    num_hidden_layers num_key_value_heads num_local_experts num_mem_blocks num_mtp_layers
    num_nextn_predict_layers num_query_groups num_shared_experts number_of_conv_states
    output_gate_type output_logit_soft_cap partial_rotary_factor ple_conv_kernel_size
    ple_embed_dim ple_layer_ids position_embedding_type q_lora_rank qk_head_dim
    qk_nope_head_dim qk_rope_head_dim rescale_every rescale_prenorm_residual residual_in_fp32
    residual_multiplier return_last_states rms_norm_eps rotary_pct routed_scaling_factor seed
    sequence_kernel shared_expert_intermediate_size shared_intermediate_size
    short_conv_kernel_size sliding_window split_ngram_parts ssm_out_multiplier step_kernel
    swiglu_limit tie_embedding time_step_floor time_step_init_scheme time_step_max
    time_step_min time_step_rank time_step_scale topk_group use_associative_scan
    use_attention_gate use_bias use_conv_bias use_expert_bias use_falcon_mambapy
    use_long_context use_mamba_kernels use_mambapy use_mem_eff_path use_mem_rope
    use_sandwich_norm use_shared_attention_adapter v_head_dim w_init_variance_scale
    z_loss_coefficient
    """
)


@pytest.mark.parametrize("model_type", _RECURRENT)
def test_what_is_left_to_transformers_was_looked_at(model_type):
    keys = _TYPES[model_type].reads | OF_ANY_CONFIG.left | OF_ANY_CONFIG.irrelevant | AROUND
    left = transformers_config_keys.keys_of(model_type)
    assert {key for key in left - keys if not key.startswith("rope_")} == set()


@pytest.mark.parametrize(
    ("given", "message", "hint"),
    [
        (
            {"time_step_limt": [0, 1]},
            "nothing reads time_step_limt",
            "did you mean time_step_limit",
        ),
        ({"torch_dtype": "float32"}, "reads torch_dtype .*: it changes no number", "leave it out"),
        ({"nonsense": None}, "nothing reads nonsense", "keys that decide what is read: .*expand"),
        ({"ssm_cfg": {"dt_limit": [0, 1]}}, "nothing reads ssm_cfg", ""),
    ],
)
def test_a_given_key_that_nothing_reads_is_refused(given, message, hint, tiny_mamba2_folder):
    with pytest.raises(UsageError, match=message) as error:
        sk.open_checkpoint(str(tiny_mamba2_folder), config=given)
    assert hint.split(":")[0] in error.value.hint


def test_given_keys_of_a_section():
    keys = ConfigKeys(reads=frozenset({"ssm_cfg", "ssm_cfg.dt_limit"}))
    check_given("m", keys, {"ssm_cfg.dt_limit": [0, 1]})
    check_given("m", keys, {"ssm_cfg": {"dt_limit": [0, 1]}})
    for given in ({"ssm_cfg.dt_limt": 1}, {"ssm_cfg": {"dt_limt": 1}}):
        with pytest.raises(UsageError, match=r"nothing reads ssm_cfg\.dt_limt") as error:
            check_given("m", keys, given)
        assert "did you mean ssm_cfg.dt_limit?" in error.value.hint


def test_a_dotted_key_is_put_into_its_section(tmp_path):
    (family,) = (family for family in FAMILIES if str(family) == "kimi_linear-bounded")
    folder = family.write(tmp_path)
    given = {"linear_attn_config.gate_lower_bound": -2.0}
    with sk.open_checkpoint(str(folder), config=given) as model:
        section = model.checkpoint.config["linear_attn_config"]
        assert section == {"num_heads": 4, "head_dim": 8, "gate_lower_bound": -2.0}
        assert model.layers[0].mixer.lower_bound == -2.0


def test_a_run_names_what_is_not_known(tmp_path, caplog):
    (family,) = (family for family in FAMILIES if str(family) == "nemotron_h")
    folder = family.write(tmp_path)
    config = json.loads((folder / "config.json").read_text()) | {"decay_floor": 0.1}
    (folder / "config.json").write_text(json.dumps(config))
    run = sk.analyze(str(folder), mode="weights")
    assert run.manifest.remarks["unknown_config_keys"] == ["decay_floor"]
    (note,) = run.manifest.remarks["equations"]
    assert "the limit of the step follows the published model, not transformers" in note
    assert [record.levelname for record in caplog.records if "decay_floor" in record.message] == [
        "WARNING"
    ]
