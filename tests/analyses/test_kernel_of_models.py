"""The `kernel` analysis against whole kernels, in NumPy and float64.

Of attention that is the matrix of weights that transformers' own eager attention makes; of the
recurrent layers k(t, s) = C_t A_t ... A_{s+1} B_s, multiplied out for every pair.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

import spectrakit as sk
from spectrakit.analyses.base import Request
from spectrakit.analyses.kernel.analysis import DecayKernel
from spectrakit.architectures.transformers_model import quiet_transformers
from spectrakit.tables import Manifest, MemorySink
from tests.families.attention import _GPT, _GROUPED
from tests.families.base import Family, observe

#: Every output has a group of its own up to 33 tokens: nothing is left to sampling.
TOKENS = 30
ATTENTION = [
    Family("gpt2", ("softmax_attention",) * 2, _GPT, TOKENS),
    Family("llama", ("softmax_attention",) * 2, _GROUPED, TOKENS),
    Family("mistral", ("softmax_attention",) * 2, {**_GROUPED, "sliding_window": 5}, TOKENS),
    Family("gpt_oss", ("softmax_attention",) * 2,
           {**_GROUPED, "head_dim": 8, "sliding_window": 6, "num_local_experts": 4,
            "num_experts_per_tok": 2}, TOKENS),
]  # fmt: skip
PADDING = {"none": [], "right": [slice(22, None)], "left": [slice(None, 9)]}


def valid_tokens(padding):
    valid = torch.ones(2, TOKENS, dtype=torch.bool)
    for part in PADDING[padding]:
        valid[1, part] = False
    return valid


def summed(kernel, valid):
    """From |k| (B, H, T, T): the mean mass of an output by lag (H, T), with the first and without.

    Every pair of real tokens, of every output but a sequence's first.
    """
    batch, heads, tokens, _ = kernel.shape
    mass = {name: np.zeros((heads, tokens)) for name in ("all", "without_first")}
    outputs = 0
    for b in range(batch):
        real = np.flatnonzero(valid[b])
        for t in real[1:]:
            outputs += 1
            for s in real[real <= t]:
                mass["all"][:, t - s] += kernel[b, :, t, s]
                if s > real[0]:
                    mass["without_first"][:, t - s] += kernel[b, :, t, s]
    return {name: each / outputs for name, each in mass.items()}, outputs


def written(seen, valid):
    """The two tables of what `observe` saw."""
    sink = MemorySink(Manifest(model_id="m", revision="r", mode="data"))
    analysis = DecayKernel(sink, Request())
    for layer, observation in seen:
        analysis.see(layer, observation.recurrence, valid)
    analysis.finish()
    return [sink.run.table(f"decay_kernel{name}").to_pandas() for name in ("", "_summary")]


def assert_is(found, expected, outputs, tolerance):
    """Tables of one layer against masses (H, T), as `summed` gives them; channels have no rows."""
    rows, summary = found
    heads = sorted(summary["head"].dropna().unique())
    for name, by_head in expected.items():
        assert len(heads) in {0, len(by_head)}
        for head in [None, *map(int, heads)]:
            mass = by_head.mean(0) if head is None else by_head[head]
            mine, short = (
                part[
                    (part.token_set == name)
                    & (part["head"].isna() if head is None else part["head"] == head)
                ]
                for part in (rows, summary)
            )
            for row in mine.itertuples():
                inside = mass[row.lag_low : row.lag_high + 1].sum()
                assert row.mass == pytest.approx(inside, rel=tolerance, abs=tolerance)
            (short,) = short.to_dict("records")
            assert short["outputs"] == outputs
            assert short["mass"] == pytest.approx(mass.sum(), rel=tolerance)
            assert short["mass_lag_0"] == pytest.approx(mass[0], rel=tolerance, abs=tolerance)
            assert short["mass_lag_1"] == pytest.approx(mass[1], rel=tolerance, abs=tolerance)
            upto = mass.cumsum() / mass.sum()
            for column, share in (("lag_50", 0.5), ("lag_90", 0.9)):
                lag = short[column]  # float32 may stand on the other side of the share
                assert upto[int(lag)] >= share - tolerance
                assert lag == 0 or upto[int(lag) - 1] < share + tolerance
            of = {
                key: each.mean(0) if head is None else each[head] for key, each in expected.items()
            }
            share = 1 - of["without_first"].sum() / of["all"].sum()
            assert short["first_token_share"] == pytest.approx(share, abs=tolerance)


@pytest.mark.parametrize("padding", PADDING)
@pytest.mark.parametrize("family", ATTENTION, ids=str)
def test_of_attention_it_is_that_of_the_whole_matrix(family, padding, tmp_path):
    from transformers import AutoModel

    folder, tokens, valid = family.write(tmp_path), family.token_ids(), valid_tokens(padding)
    with sk.open_checkpoint(str(folder)) as model:
        rows, summary = written(observe(model, tokens, valid), valid)
    with quiet_transformers(), torch.no_grad():
        theirs = AutoModel.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager"
        ).eval()
        whole = theirs(input_ids=tokens, attention_mask=valid.long(), output_attentions=True)
    for layer, weights in enumerate(whole.attentions):
        kernel = weights[..., :TOKENS].double().numpy()
        expected, outputs = summed(kernel, valid.numpy())
        found = [part[part.layer == layer] for part in (rows, summary)]
        assert_is(found, expected, outputs, 2e-5)
        taken = 1 - expected["all"].sum(1)  # by learned sinks: no input has it
        shares = found[1][(found[1].token_set == "all") & found[1]["head"].notna()]
        np.testing.assert_allclose(shares.learned_sink_share, taken, atol=2e-5)
        assert (taken.max() > 0.01) == (family.model_type == "gpt_oss")


RECURRENT = [
    Family("mamba", ("mamba",) * 2, {"hidden_size": 8, "num_hidden_layers": 2, "state_size": 4},
           TOKENS),
    Family("mamba2", ("mamba2",) * 2,
           {"hidden_size": 16, "num_hidden_layers": 2, "state_size": 4, "num_heads": 4,
            "head_dim": 8, "n_groups": 1, "chunk_size": 8}, TOKENS),
    Family("qwen3_next", ("gated_deltanet", "softmax_attention"),
           {**_GROUPED, "head_dim": 8, "linear_num_value_heads": 2, "linear_num_key_heads": 2,
            "linear_key_head_dim": 4, "linear_value_head_dim": 8, "num_experts": 4,
            "num_experts_per_tok": 2, "moe_intermediate_size": 16,
            "shared_expert_intermediate_size": 16,
            "layer_types": ["linear_attention", "full_attention"]}, TOKENS),
]  # fmt: skip


@pytest.mark.parametrize("family", RECURRENT, ids=str)
def test_of_recurrences_it_is_that_of_all_products(family, tmp_path):
    valid = valid_tokens("none")
    with sk.open_checkpoint(str(family.write(tmp_path))) as model:
        seen = observe(model, family.token_ids())
    recurrence = seen[0][1].recurrence
    heads = recurrence.operator.heads
    assert heads <= 64  # all channels are looked at
    a = recurrence.operator.dense().double().numpy()  # (B, T, H, N, N)
    b, c = (
        part.matrix(heads).double().numpy()
        for part in (recurrence.input_map, recurrence.output_map)
    )
    kernel = np.zeros((2, heads, TOKENS, TOKENS))
    for t in range(TOKENS):
        row = c[:, t]
        for s in range(t, -1, -1):
            kernel[:, :, t, s] = np.abs(np.einsum("bhn,bhn->bh", row, b[:, s]))
            row = np.einsum("bhn,bhnm->bhm", row, a[:, s])
    expected, outputs = summed(kernel, valid.numpy())
    assert_is(written(seen[:1], valid), expected, outputs, 2e-5)
