#!/usr/bin/env bash
# llama.cpp writes FalconMamba as the architecture `mamba` with the key `mamba.ssm.dt_b_c_rms` set, which
# says that steps, B and C are normalised. transformers loads such a GGUF file as a plain Mamba: it does
# not look at the key. The two classes have parameters of the same names and shapes (FalconMamba's norms
# have none), so that nothing is missing or unexpected, nothing is warned of, and the logits are others.
#
# A file of a plain Mamba, written in the same way, comes back exactly.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet torch==2.13.0 transformers==5.23.0 gguf==0.19.0 accelerate==1.15.0

cat > finding.py <<'P'
import gguf
import torch
import transformers
from transformers import (
    AutoModelForCausalLM,
    FalconMambaConfig,
    FalconMambaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
)

print("torch", torch.__version__, "transformers", transformers.__version__, "gguf", "0.19.0")
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()


def write(model, path):
    """As llama.cpp's convert_hf_to_gguf.py: its keys, gguf's names, -exp(A_log)."""
    config = model.config
    writer = gguf.GGUFWriter(path, "mamba")
    writer.add_context_length(2**20)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(0)
    writer.add_head_count(0)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_ssm_conv_kernel(config.conv_kernel)
    writer.add_ssm_inner_size(config.intermediate_size)
    writer.add_ssm_state_size(config.state_size)
    writer.add_ssm_time_step_rank(config.time_step_rank)
    writer.add_layer_norm_rms_eps(config.layer_norm_epsilon)
    writer.add_ssm_dt_b_c_rms(config.model_type == "falcon_mamba")
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list([f"t{i}" for i in range(config.vocab_size)])
    writer.add_token_merges(["a b"])
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.MAMBA, config.num_hidden_layers)
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight":  # tied
            continue
        tensor = tensor.detach().float()
        if name.endswith("A_log"):
            tensor = -torch.exp(tensor)
        if name.endswith("conv1d.weight"):
            tensor = tensor.squeeze()
        new = names.get_name(name, try_suffixes=(".weight", ".bias"))
        writer.add_tensor(new, tensor.contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


torch.manual_seed(0)
tokens = torch.randint(0, 64, (1, 24))
sizes = {"vocab_size": 64, "hidden_size": 32, "state_size": 8, "num_hidden_layers": 2}
apart, classes = {}, {}
for config, kind in ((MambaConfig, MambaForCausalLM), (FalconMambaConfig, FalconMambaForCausalLM)):
    model = kind(config(**sizes)).eval()
    write(model, f"{model.config.model_type}.gguf")
    loaded, report = AutoModelForCausalLM.from_pretrained(
        ".", gguf_file=f"{model.config.model_type}.gguf", dtype=torch.float32,
        output_loading_info=True,
    )
    with torch.no_grad():
        expected, found = model(tokens).logits, loaded.eval()(tokens).logits
    name = kind.__name__
    apart[name] = ((found - expected).abs().max() / expected.abs().max()).item()
    classes[name] = type(loaded).__name__
    missing = {key: len(names) for key, names in report.items() if key.endswith("_keys")}
    print(f"{name}: loaded as {classes[name]}, {missing}, "
          f"logits apart by {apart[name]:.2g} of the largest")

assert apart["MambaForCausalLM"] < 1e-6
assert classes["FalconMambaForCausalLM"] == "MambaForCausalLM"
assert apart["FalconMambaForCausalLM"] > 1e-2
print("as found: a FalconMamba in GGUF is loaded as a Mamba, without a word")
P
venv/bin/python finding.py
