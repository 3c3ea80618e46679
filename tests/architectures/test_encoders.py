"""Encoders run: their hidden states are those of transformers, and padding has no part in them."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import spectrakit as sk
from spectrakit.errors import UnsupportedError
from spectrakit.token_options import TokenOptions
from tests.representations.test_huge_tokens import in_extended_precision

SIZES = {"num_hidden_layers": 2, "hidden_size": 16, "num_attention_heads": 2,
         "intermediate_size": 24, "vocab_size": 50, "max_position_embeddings": 40}  # fmt: skip
ENCODERS = {
    "bert": SIZES,
    "mpnet": SIZES,
    "roberta": SIZES,
    "electra": SIZES | {"embedding_size": 16},
    "distilbert": {"n_layers": 2, "dim": 16, "n_heads": 2, "hidden_dim": 24, "vocab_size": 50,
                   "max_position_embeddings": 40},
    "modernbert": SIZES | {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
                           "cls_token_id": 1, "sep_token_id": 2},
}  # fmt: skip


def saved(folder, model_type, kind="AutoModel"):
    import transformers

    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(model_type, **ENCODERS[model_type])
    model = getattr(transformers, kind).from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(5)
    model.save_pretrained(folder)
    return model


def tokens_of(folder, lengths=(30,)):
    """Token ids, a row of a file each; a short one is padded within its batch."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(3, 50, (sum(lengths),), generator=generator)
    np.save(folder / "tokens.npy", ids.numpy())
    return ids


def states_of(model, ids):
    """The hidden states of transformers' own model: of sequences that are alone."""
    with torch.no_grad():
        return model.base_model(input_ids=ids[None], output_hidden_states=True).hidden_states


def assert_cka_is_of(run, states):
    expected = in_extended_precision(states)
    rows = [row for row in run.table("similarity").to_pylist() if row["estimator"] == "cka"]
    rows = [row for row in rows if row["token_set"] == row["coordinates"] == "all"]
    assert len(rows) == 6
    for row in rows:
        value = float(expected[row["depth"], row["other_depth"]])
        assert row["value"] == pytest.approx(value, abs=1e-5)


@pytest.mark.parametrize("model_type", ENCODERS)
def test_similarity_and_flow_are_of_their_hidden_states(model_type, tmp_path):
    model = saved(tmp_path / "model", model_type)
    ids = tokens_of(tmp_path)
    run = sk.analyze(
        str(tmp_path / "model"), analyses=("similarity", "propagation"), device="cpu",
        source=TokenOptions(tokens=tmp_path / "tokens.npy", seq_len=30),
    )  # fmt: skip
    states = states_of(model, ids)
    if model_type != "modernbert":  # whose last hidden state has gone through a norm
        assert_cka_is_of(run, [own[0] for own in states])
    layers = run.table("layers").to_pylist()
    assert {row["status"] for row in layers} == {"unsupported"}
    assert all(row["reason"].startswith("bidirectional") for row in layers)
    norms = [row["value"] for row in run.table("propagation").to_pylist()
             if (row["metric"], row["of"], row["token_set"], row["coordinates"])
             == ("norm", "stream", "all", "all") and row["position_low"] is None]  # fmt: skip
    expected = [float(own[0].double().norm(dim=1).mean()) for own in states]
    assert norms[:2] == pytest.approx(expected[:2], rel=1e-5)


def test_padding_has_no_part_in_the_other_tokens(tmp_path):
    model = saved(tmp_path / "model", "bert")
    ids = tokens_of(tmp_path, (30, 17))
    run = sk.analyze(
        str(tmp_path / "model"), analyses="similarity", device="cpu",
        source=TokenOptions(tokens=tmp_path / "tokens.npy", seq_len=30, batch_size=2),
    )  # fmt: skip
    alone = zip(states_of(model, ids[:30]), states_of(model, ids[30:]), strict=True)
    assert_cka_is_of(run, [torch.cat([first[0], second[0]]) for first, second in alone])


@pytest.mark.parametrize("kind", ["AutoModelForMaskedLM", "AutoModelForSequenceClassification"])
def test_files_with_a_head_are_read_without_it(kind, tmp_path):
    model = saved(tmp_path / "model", "bert", kind)
    ids = tokens_of(tmp_path)
    run = sk.analyze(
        str(tmp_path / "model"), analyses="similarity", device="cpu",
        source=TokenOptions(tokens=tmp_path / "tokens.npy", seq_len=30),
    )  # fmt: skip
    assert_cka_is_of(run, [own[0] for own in states_of(model, ids)])


def test_weights_that_are_not_there_are_missed(tmp_path):
    from safetensors.torch import load_file, save_file

    from spectrakit.errors import MalformedError

    saved(tmp_path, "bert")
    weights = load_file(tmp_path / "model.safetensors")
    del weights["encoder.layer.1.output.dense.weight"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    source = TokenOptions(tokens=tmp_path / "tokens.npy", seq_len=30)
    tokens_of(tmp_path)
    with pytest.raises(MalformedError, match=r"lack encoder\.layer\.1\.output\.dense\.weight"):
        sk.analyze(str(tmp_path), analyses="similarity", source=source)


def test_all_computes_what_an_encoder_has(tmp_path):
    saved(tmp_path / "model", "bert")
    tokens_of(tmp_path)
    source = TokenOptions(tokens=tmp_path / "tokens.npy", seq_len=30)
    run = sk.analyze(str(tmp_path / "model"), analyses=["all", "perturbation"], source=source)
    assert {"layers", "similarity", "propagation", "perturbation"} <= set(run.tables)
    assert set(run.manifest.spec["analyses"]) == {"similarity", "propagation", "perturbation"}


def test_a_spectrum_alone_is_refused_with_what_there_is(tmp_path):
    saved(tmp_path, "bert")
    with sk.open_checkpoint(str(tmp_path)) as model:
        with pytest.raises(UnsupportedError, match="bidirectional") as info:
            sk.analyze(model, mode="data")
        assert info.value.hint == "its hidden states can: analyses=['similarity', 'propagation']"


def test_encoders_of_images_do_not_run(tmp_path):
    from transformers import AutoConfig, AutoModel

    config = AutoConfig.for_model("vit", num_hidden_layers=1, hidden_size=16,
                                  num_attention_heads=2, intermediate_size=16)  # fmt: skip
    AutoModel.from_config(config).save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == "vit"
    with pytest.raises(UnsupportedError, match="bidirectional"):
        sk.analyze(str(tmp_path), analyses="similarity", mode="data")
