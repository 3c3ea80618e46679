#!/usr/bin/env bash
# transformers has the gated delta rule (Qwen3-Next, OLMo Hybrid) in two forms that are meant to agree:
# token by token, and in chunks of 64. Where one token's log-decay g is strong, the chunked form loses
# digits of every token after it in its chunk. It takes differences of running sums of g in float32,
# and beside a sum of -1e4 the -0.01 of an ordinary token has few digits left.
#
# With g = -1e4 now and then, outputs are wrong by a thousandth of the largest one, though what comes
# after such a token depends on nothing before it. In chunks of one token the two forms agree.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet torch==2.13.0 transformers==5.23.0

cat > finding.py <<'P'
import torch
import transformers
from transformers.models.qwen3_next.modeling_qwen3_next import (
    torch_chunk_gated_delta_rule as chunked,
)
from transformers.models.qwen3_next.modeling_qwen3_next import (
    torch_recurrent_gated_delta_rule as stepped,
)

print("torch", torch.__version__, "transformers", transformers.__version__)
torch.manual_seed(0)
tokens, heads, states = 128, 2, 8
query, key, value = (torch.randn(1, tokens, heads, states) for _ in range(3))
beta = torch.rand(1, tokens, heads)
weak = -0.01 - 0.01 * torch.rand(1, tokens, heads)
every_twentieth = (torch.arange(tokens) % 20 == 5).view(1, -1, 1)

found = {}
for strong in (-0.01, -10.0, -100.0, -1_000.0, -10_000.0):
    g = weak.masked_fill(every_twentieth, strong)
    inputs = query, key, value, g, beta
    wanted = stepped(
        *inputs, initial_state=None, output_final_state=False, use_qk_l2norm_in_kernel=True
    )[0]
    apart = []
    for size in (64, 1):
        y = chunked(*inputs, chunk_size=size, use_qk_l2norm_in_kernel=True)[0]
        apart.append(((y - wanted).abs().max() / wanted.abs().max()).item())
    found[strong] = apart
    print(f"g = {strong:g} at every 20th token: the forms differ by {apart[0]:.1e} of the largest "
          f"output in chunks of 64, by {apart[1]:.1e} in chunks of 1")

assert found[-0.01][0] < 2e-6
assert found[-100.0][0] > 5e-6
assert found[-10_000.0][0] > 2e-4
assert all(apart[1] < 2e-6 for apart in found.values())
print("as found: the stronger one decay, the fewer digits the chunked form has after it")
P
venv/bin/python finding.py
