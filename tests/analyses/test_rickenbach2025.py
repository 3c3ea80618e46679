"""The released analysis of arXiv 2510.09379, departures included, against its rules written out."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

import spectrakit as sk
from spectrakit.errors import AnalysisError, UnsupportedError, UsageError
from spectrakit.token_options import TokenOptions
from tests.families.base import Family

_EDGES = [0, 0.1, 0.5, 0.9, 1, 10, 100, np.inf]
TOKENS = 24


def closed_bins(values):
    """Percent in each bin, inner edges on both sides; the last bin is open."""
    inside = [(values >= low) & (values <= high) for low, high in pairwise(_EDGES[:-1])]
    return 100 * np.array([bin_.mean() for bin_ in [*inside, values > 100]])


def run(model, ids, folder, **options):
    np.save(folder / "ids.npy", ids.numpy())
    source = TokenOptions(tokens=folder / "ids.npy", batch_size=2, seq_len=ids.shape[1])
    return sk.analyze(model, mode="data", source=source, **options)


def hidden_after_blocks(model, ids):
    """The output of every block of the model."""
    runnable = model.load("cpu")
    found = []
    handles = [
        runnable.model.get_submodule(layer.path.rpartition(".")[0]).register_forward_hook(
            lambda _, __, output: found.append(output[0] if isinstance(output, tuple) else output)
        )
        for layer in runnable.layers
    ]
    runnable.run(ids)
    for handle in handles:
        handle.remove()
    return runnable.model, found


def written_out(query, key):
    """nu_{t-1} / nu_t with scores masked by zero and left in: (B, T - 1), for (B, T, K)."""
    tokens = query.shape[1]
    past = torch.ones(tokens, tokens).tril()
    nu = torch.exp(past * (query @ key.transpose(1, 2))).sum(-1)
    return (nu[:, :-1] / nu[:, 1:]).numpy()


PROJECTIONS = {
    "gpt2": lambda block, x: block.attn.c_attn(x).split(32, -1)[:2],
    "gpt_neox": lambda block, x: (
        block.attention.query_key_value(x).unflatten(-1, (4, 24))[..., :8].flatten(-2),
        block.attention.query_key_value(x).unflatten(-1, (4, 24))[..., 8:16].flatten(-2),
    ),
    "llama": lambda block, x: (
        block.self_attn.q_proj(x),
        block.self_attn.k_proj(x).unflatten(-1, (2, 8)).repeat_interleave(2, -2).flatten(-2),
    ),
}
CONFIGS = {
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4},
    "gpt_neox": {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
                 "num_attention_heads": 4},
    "llama": {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
              "num_attention_heads": 4, "num_key_value_heads": 2},
}  # fmt: skip


@pytest.mark.parametrize("model_type", CONFIGS)
def test_softmax_layers_are_counted_as_released(model_type, tmp_path):
    family = Family(model_type, (), CONFIGS[model_type], tokens=TOKENS)
    folder = family.write(tmp_path / "model")
    ids = family.token_ids()
    with sk.open_checkpoint(str(folder)) as model:
        rows = run(model, ids, tmp_path, compat="rickenbach2025").table("released_bins").to_pandas()
        loaded, hidden = hidden_after_blocks(model, ids)
        paths = [layer.path.rpartition(".")[0] for layer in model.layers]
    rows = rows[rows.of == "modulus"]
    for layer, (path, x) in enumerate(zip(paths, hidden, strict=True)):
        query, key = PROJECTIONS[model_type](loaded.get_submodule(path), x)
        for head in range(4):
            mine = slice(8 * head, 8 * head + 8)
            ratios = written_out(query[..., mine].double(), key[..., mine].double())
            percent = np.stack([closed_bins(sequence) for sequence in ratios])
            found = rows[(rows.layer == layer) & (rows["head"] == head)]
            np.testing.assert_allclose(found.mean_percent, percent.mean(0), atol=1e-9)
            np.testing.assert_allclose(found.std_percent, percent.std(0), atol=1e-6)
    assert set(rows.sequences) == {2}


def test_it_is_not_the_exact_spectrum(tmp_path):
    family = Family("gpt2", (), CONFIGS["gpt2"], tokens=TOKENS)
    folder = family.write(tmp_path / "model")
    with sk.open_checkpoint(str(folder)) as model:
        exact, released = (
            run(model, family.token_ids(), tmp_path, **options).table("spectrum_summary")
            for options in ({"gauge": "dsf"}, {"compat": "rickenbach2025"})
        )
    columns = [name for name in exact.column_names if name.startswith("share_modulus")]
    shares = [np.array([table[name].to_numpy() for name in columns]) for table in (exact, released)]
    assert np.abs(shares[0] - shares[1]).max() > 0.1


def test_mamba2_steps_come_from_the_blocks_output(tiny_mamba2_folder, tmp_path):
    ids = torch.randint(256, (2, TOKENS), generator=torch.Generator().manual_seed(0))
    with sk.open_checkpoint(str(tiny_mamba2_folder)) as model:
        rows = run(model, ids, tmp_path, compat="rickenbach2025").table("released_bins").to_pandas()
        loaded, hidden = hidden_after_blocks(model, ids)
    rows = rows[rows.of == "modulus"]
    for layer, x in enumerate(hidden):
        mixer = loaded.get_submodule(f"backbone.layers.{layer}.mixer")
        heads = len(mixer.A_log)
        raw = mixer.in_proj(x)[..., -heads:].double()
        step = torch.nn.functional.softplus(raw + mixer.dt_bias.double())
        moduli = torch.exp(-step * mixer.A_log.double().exp()).numpy()
        for head in range(heads):
            percent = np.stack([closed_bins(sequence[:, head]) for sequence in moduli])
            found = rows[(rows.layer == layer) & (rows["head"] == head)]
            np.testing.assert_allclose(found.mean_percent, percent.mean(0), atol=1e-9)


def test_an_eigenvalue_on_an_inner_edge_counts_twice():
    from spectrakit.analyses.rickenbach2025.analysis import PHASE, RADIUS, _percent

    modulus = np.array([[0.0, 0.5, 1.0, 200.0]])
    assert _percent(modulus, RADIUS).tolist() == [[25, 25, 25, 25, 25, 0, 25]]
    phases = np.array([[-3.0, 0.5, 10.0, 180.0]])  # a negative phase is in no bin
    assert _percent(phases, PHASE).tolist() == [[25, 25, 25, 0, 25, 0]]


def test_layers_that_the_paper_has_not_are_refused(tiny_mamba_folder):
    with pytest.raises(UnsupportedError, match="analyses no mamba layer"):
        sk.analyze(str(tiny_mamba_folder), mode="data", compat="rickenbach2025")


@pytest.mark.parametrize(
    ("model_type", "config"),
    [
        ("falcon", {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
                    "multi_query": True, "alibi": False, "new_decoder_architecture": False}),
        ("gpt_bigcode", {"n_embd": 32, "n_layer": 2, "n_head": 4}),
        ("gpt_bigcode", {"n_embd": 32, "n_layer": 2, "n_head": 4, "multi_query": False}),
    ],
)  # fmt: skip
def test_projections_that_are_laid_out_otherwise_are_refused(model_type, config, tmp_path):
    family = Family(model_type, (), config, tokens=TOKENS)
    with (
        sk.open_checkpoint(str(family.write(tmp_path / "model"))) as model,
        pytest.raises(UnsupportedError, match="projections of .* are not known"),
    ):
        run(model, family.token_ids(), tmp_path, compat="rickenbach2025")


def test_its_rows_say_that_they_are_not_the_exact_ones(tmp_path):
    family = Family("gpt2", (), CONFIGS["gpt2"], tokens=TOKENS)
    with sk.open_checkpoint(str(family.write(tmp_path / "model"))) as model:
        found = run(model, family.token_ids(), tmp_path, compat="rickenbach2025")
    for name in ("layers", "spectrum_summary", "spectrum_histogram"):
        assert set(found.table(name)["gauge"].to_pylist()) == {"rickenbach2025"}


@pytest.mark.parametrize("name", ["tiny-mamba", "tiny-mamba2"])
def test_nominal_layers_are_not_in_the_paper(name):
    with pytest.raises(AnalysisError, match="no layer seen here"):
        sk.analyze(name, mode="weights", compat="rickenbach2025")


def test_other_names_are_refused(tiny_mamba_folder):
    with pytest.raises(UsageError, match="unknown compat 'someone2030'"):
        sk.analyze(str(tiny_mamba_folder), compat="someone2030")
