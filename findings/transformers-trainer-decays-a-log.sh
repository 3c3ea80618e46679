#!/usr/bin/env bash
# transformers' Trainer applies weight decay to the state matrices of its Mamba models: A_log and D
# are in the decayed group, while dt_bias is not, for the "bias" in its name. Of two norms of the same
# class, `layers.0.norm` is spared and the last one, `norm_f`, decayed: names decide, by patterns.
# The parameters carry no mark (`_no_weight_decay`, as mamba_ssm's do) that Trainer could heed.
#
# Decay pulls A_log to 0, and so every eigenvalue of A to -1, whatever the data say.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet torch==2.13.0 transformers==5.23.0 accelerate==1.15.0

cat > finding.py <<'P'
import torch
import transformers
from transformers import (
    Mamba2Config,
    Mamba2ForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    Trainer,
    TrainingArguments,
)

print("torch", torch.__version__, "transformers", transformers.__version__)
torch.manual_seed(0)
sizes = {"vocab_size": 16, "hidden_size": 32, "num_hidden_layers": 1, "state_size": 4}
models = [
    MambaForCausalLM(MambaConfig(**sizes)),
    Mamba2ForCausalLM(Mamba2Config(**sizes, num_heads=4, head_dim=16, n_groups=1)),
]
for model in models:
    arguments = TrainingArguments(
        output_dir="out", weight_decay=0.1, learning_rate=1e-2, use_cpu=True, report_to=[]
    )
    trainer = Trainer(model=model, args=arguments)
    parameters = dict(model.named_parameters())
    decayed = set(trainer.get_decay_parameter_names(model))
    marked = [name for name, p in parameters.items() if hasattr(p, "_no_weight_decay")]
    optimiser = trainer.create_optimizer()

    # 1,000 steps in which the data say nothing: every gradient is zero.
    a_log = parameters["backbone.layers.0.mixer.A_log"]
    before = a_log.detach().exp().max().item()
    for parameter in parameters.values():
        parameter.grad = torch.zeros_like(parameter)
    for _ in range(1000):
        optimiser.step()
    after = a_log.detach().exp().max().item()

    kind = type(model).__name__
    print(f"{kind}: marked {marked}")
    print("  decayed:", sorted(n for n in decayed if n.endswith(("A_log", ".D", "norm_f.weight"))))
    print("  not decayed:", sorted(n for n in parameters if n not in decayed))
    print(f"  fastest decay rate exp(A_log): {before:.3f} -> {after:.3f} with zero gradients")

    mixer = "backbone.layers.0.mixer"
    assert marked == []
    assert {f"{mixer}.A_log", f"{mixer}.D", "backbone.norm_f.weight"} <= decayed
    assert "backbone.layers.0.norm.weight" not in decayed
    bias = "dt_proj.bias" if kind == "MambaForCausalLM" else "dt_bias"
    assert f"{mixer}.{bias}" not in decayed
    assert before > 3.99
    assert 1 < after < 0.5 * before
print("as found: the default optimiser decays A_log, D and the last norm, and spares the steps")
P
venv/bin/python finding.py
