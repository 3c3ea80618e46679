"""The road from a name to its tables, on the bundled trained checkpoints."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import spectrakit as sk
from spectrakit.errors import AnalysisError, MalformedError, UnsupportedError, UsageError
from spectrakit.token_options import TokenOptions
from tests.support.mamba_ssm_files import write_mamba_ssm

FEW = TokenOptions(batch_size=2, seq_len=64, max_tokens=200)


def rows(run, table):
    return run.table(table).to_pylist()


def test_nominal_eigenvalues_are_those_of_the_files_parameters(tiny_mamba_folder):
    run = sk.analyze("tiny-mamba")
    assert run.manifest.model_id == "tiny-mamba"
    weights = load_file(tiny_mamba_folder / "model.safetensors")
    found = np.array([row["decay_rate"] for row in rows(run, "spectrum")]).reshape(3, 192, 16)
    for index in range(3):
        prefix = f"backbone.layers.{index}.mixer."
        rate = np.exp(weights[prefix + "A_log"].double().numpy())
        step = np.log1p(np.exp(weights[prefix + "dt_proj.bias"].double().numpy()))
        np.testing.assert_allclose(found[index], step[:, None] * rate, rtol=1e-12)


def test_every_format_and_name_gives_the_same_spectrum(tiny_folder, tmp_path):
    shutil.copytree(tiny_folder, tmp_path / "folder")
    original = write_mamba_ssm(tiny_folder, tmp_path / "original")
    names = [
        tiny_folder.name,
        str(tmp_path / "folder"),
        str(tmp_path / "folder" / "model.safetensors"),
        str(original),
        str(original / "pytorch_model.bin"),
    ]
    spectra = [
        sk.analyze(name).table("spectrum").drop_columns(["model_id", "revision"]) for name in names
    ]
    assert all(spectrum.equals(spectra[0]) for spectrum in spectra[1:])


def test_weights_mode_says_how_much_it_read():
    run = sk.analyze("tiny-mamba")
    assert [row["bytes_read"] for row in rows(run, "layers")] == [192 * 17 * 4] * 3


def test_data_mode_counts_every_eigenvalue_of_every_valid_token(tiny_folder):
    run = sk.analyze(tiny_folder.name, mode="data", source=FEW)
    per_token = {"tiny-mamba": 192 * 16, "tiny-mamba2": 12 * 16 * 32}[tiny_folder.name]
    whole = [row for row in rows(run, "spectrum_summary") if row["head"] is None]
    assert [row["count"] for row in whole] == [(200 - 4) * per_token] * 3  # of 4 sequences
    assert {row["mode"] for row in whole} == {"data"}
    assert [row["relative_error"] for row in whole] == [pytest.approx(0.01)] * 3
    assert run.manifest.spec["source"]["max_tokens"] == 200
    assert {row["mode"] for row in rows(run, "layers")} == {"data"}


def test_data_mode_is_what_the_layers_computed(tiny_mamba_folder):
    """Against A_t gathered by hooks on the modules themselves, everything multiplied out."""
    run = sk.analyze("tiny-mamba", mode="data", source=FEW)
    with sk.open_checkpoint("tiny-mamba") as model:
        runnable = model.architecture.load(model.checkpoint, "cpu")
        mixers = [runnable.model.get_submodule(layer.path) for layer in model.layers]
        rates = [[] for _ in mixers]

        def watch(index, mixer):
            def hook(_, __, selected):
                raw = selected[..., : mixer.time_step_rank] @ mixer.dt_proj.weight.T
                step = torch.nn.functional.softplus(raw + mixer.dt_proj.bias)[:, 1:]
                rates[index].append((step[..., None] * mixer.A_log.exp()).flatten())

            return hook

        for index, mixer in enumerate(mixers):
            mixer.x_proj.register_forward_hook(watch(index, mixer))
        from spectrakit.tokens import token_batches

        for batch in token_batches(FEW, model, 256):
            # one sequence at a time, so that nothing is padded
            for ids, valid in zip(batch.ids, batch.valid, strict=True):
                runnable.run(torch.from_numpy(ids[valid])[None])
    for row in rows(run, "spectrum_summary"):
        true = torch.cat(rates[row["layer"]]).double().numpy()
        assert row["count"] == len(true)
        assert row["spectral_radius"] == pytest.approx(math.exp(-true.min()), rel=1e-5)
        for name, q in (
            ("decay_rate_q05", 0.05),
            ("decay_rate_q50", 0.5),
            ("decay_rate_q95", 0.95),
        ):
            assert row[name] == pytest.approx(np.quantile(true, q), rel=0.0102)


def test_a_run_says_how_much_it_read(tmp_path):
    run = sk.analyze("tiny-llama", source=FEW, out=tmp_path / "run")
    assert (run.manifest.tokens, run.manifest.sequences) == (200, 4)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["tokens"] == 200
    assert {(row["tokens"], row["sequences"]) for row in rows(run, "layers")} == {(200, 4)}
    counted = {(row["tokens"], row["sequences"]) for row in rows(run, "spectrum_summary")}
    assert counted == {(196, 4)}  # of which the first of each sequence is not counted
    from_weights = sk.analyze("tiny-mamba", out=tmp_path / "weights")
    assert from_weights.manifest.tokens is None
    assert {row["tokens"] for row in rows(from_weights, "layers")} == {None}


def test_too_little_text_is_remarked_on(tmp_path, caplog):
    few = TokenOptions(seq_len=64, max_tokens=60)
    analyses = ("spectrum", "lyapunov", "similarity", "propagation")
    run = sk.analyze("tiny-mamba", analyses=analyses, mode="data", source=few, out=tmp_path / "r")
    assert [line.partition(":")[0] for line in run.manifest.warnings] == list(analyses)
    assert "59 of the 200 tokens" in run.manifest.warnings[0]
    assert all(line in caplog.text for line in run.manifest.warnings)
    assert json.loads((tmp_path / "r" / "run.json").read_text())["warnings"] == [
        *run.manifest.warnings
    ]
    enough = sk.analyze("tiny-mamba", analyses=analyses, mode="data", source=TokenOptions(
        batch_size=4, seq_len=64, max_tokens=256))  # fmt: skip
    assert not enough.manifest.warnings


def test_batches_do_not_matter():
    one = sk.analyze("tiny-mamba2", mode="data", source=TokenOptions(
        batch_size=1, seq_len=50, max_tokens=300))  # fmt: skip
    other = sk.analyze("tiny-mamba2", mode="data", source=TokenOptions(
        batch_size=4, seq_len=50, max_tokens=300))  # fmt: skip
    for a, b in zip(rows(one, "spectrum_summary"), rows(other, "spectrum_summary"), strict=True):
        assert a["count"] == b["count"]
        assert a["decay_rate_q50"] == pytest.approx(b["decay_rate_q50"], rel=0.0201)


def test_runs_are_deterministic(tiny_folder):
    one, other = (sk.analyze(tiny_folder.name, mode="data", source=FEW) for _ in range(2))
    for table in one.tables:
        assert one.table(table).equals(other.table(table))


def test_auto_is_weights_unless_data_is_given(tmp_path):
    (tmp_path / "t.txt").write_text("to be or not to be")
    assert sk.analyze("tiny-mamba").manifest.mode == "weights"
    source = TokenOptions(text=str(tmp_path / "t.txt"))
    assert sk.analyze("tiny-mamba", source=source).manifest.mode == "data"
    with pytest.raises(UsageError, match="weights mode reads no text"):
        sk.analyze("tiny-mamba", mode="weights", source=source)


def test_a_run_folder_is_the_run(tmp_path):
    kept = sk.analyze("tiny-mamba2", domain="both")
    run = sk.analyze("tiny-mamba2", domain="both", out=tmp_path / "run")
    assert run.folder == tmp_path / "run"
    assert set(run.tables) == set(kept.tables)
    for name in kept.tables:
        assert run.table(name).equals(kept.table(name))
    manifest = json.loads((run.folder / "run.json").read_text())
    assert manifest["architecture"] == "transformers-mamba2"
    assert manifest["plugin"] == "spectrakit"


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("tensor", ["A_log", "dt_proj.bias"])
def test_bad_values_are_named_and_nothing_is_written(value, tensor, tiny_mamba_folder, tmp_path):
    shutil.copytree(tiny_mamba_folder, tmp_path / "m")
    weights = load_file(tmp_path / "m" / "model.safetensors")
    name = f"backbone.layers.1.mixer.{tensor}"
    weights[name].view(-1)[5:8] = value
    save_file(weights, tmp_path / "m" / "model.safetensors")
    kind = "NaN" if math.isnan(value) else "Inf"
    with pytest.raises(MalformedError, match=f"layer 1: .* holds 3 {kind} of [0-9,]+ values"):
        sk.analyze(str(tmp_path / "m"), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(MalformedError, match=f"layer 1: .* holds 3 {kind}"):
        sk.analyze(str(tmp_path / "m"), mode="data", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_unknown_analyses_devices_and_layers():
    with pytest.raises(UsageError, match="unknown analysis 'spektrum'"):
        sk.analyze("tiny-mamba", analyses=["spektrum"])
    with pytest.raises(UsageError, match="no device 'cuda:77'"):
        sk.analyze("tiny-mamba", mode="data", device="cuda:77")
    with sk.open_checkpoint("tiny-mamba") as model:
        with pytest.raises(UsageError, match="no layer 3; its last is 2"):
            model.recurrence(3)
        assert model.recurrence(2).eigenvalues().timescale.shape == (192, 16)


def test_an_attention_model_is_unsupported_with_the_reason(tiny_mamba2_folder, tmp_path):
    everything = write_mamba_ssm(tiny_mamba2_folder, tmp_path / "a", attn_layer_idx=[0, 1, 2])
    with pytest.raises(UnsupportedError, match="no layer of .* can be analysed: attention"):
        sk.analyze(str(everything))


def test_importing_spectrakit_and_inspecting_needs_nothing_heavy():
    code = (
        "import sys, spectrakit as sk\n"
        "from spectrakit.inspection import inspect_model\n"
        "inspect_model(sk.open_checkpoint('tiny-mamba'))\n"
        "heavy = {'torch', 'transformers', 'pyarrow', 'altair', 'huggingface_hub', 'scipy'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def changed(folder, tmp_path, **values):
    """A copy of a checkpoint with `values` put at the first place of a tensor of layer 1."""
    shutil.copytree(folder, tmp_path / "m")
    weights = load_file(tmp_path / "m" / "model.safetensors")
    for name, value in values.items():
        weights[f"backbone.layers.1.mixer.{name.replace('__', '.')}"].view(-1)[0] = value
    save_file(weights, tmp_path / "m" / "model.safetensors")
    return str(tmp_path / "m")


def test_a_rate_beyond_float32_is_forgetting_not_a_failure(tiny_mamba_folder, tmp_path):
    name = changed(tiny_mamba_folder, tmp_path, A_log=100.0)
    run = sk.analyze(name, mode="data", source=FEW)
    histogram = [row for row in rows(run, "spectrum_histogram") if row["layer"] == 1]
    assert [row["count"] for row in histogram if row["decay_rate_low"] == math.inf] == [200 - 4]


def test_weights_that_give_no_number_are_named(tiny_mamba_folder, tmp_path):
    name = changed(tiny_mamba_folder, tmp_path, A_log=800.0, dt_proj__bias=-2000.0)
    with pytest.raises(MalformedError, match=r"layer 1: .*A_log and .*dt_proj.bias are so large"):
        sk.analyze(name)


def test_nan_on_one_token_is_reported_at_the_first_layer_that_saw_it(tiny_mamba_folder, tmp_path):
    shutil.copytree(tiny_mamba_folder, tmp_path / "m")
    weights = load_file(tmp_path / "m" / "model.safetensors")
    weights["backbone.embeddings.weight"][ord("q")] = math.nan
    save_file(weights, tmp_path / "m" / "model.safetensors")
    (tmp_path / "t.txt").write_text("a quiet place")
    source = TokenOptions(text=str(tmp_path / "t.txt"))
    with pytest.raises(
        AnalysisError, match=r"layer 0 .*: a decay rate is NaN: sequence 0 of its batch, token 2"
    ):
        sk.analyze(str(tmp_path / "m"), source=source)


def test_names_may_stand_alone_but_must_be_known():
    run = sk.analyze("tiny-mamba2", analyses="spectrum", domain="continuous")
    assert {row["domain"] for row in rows(run, "spectrum")} == {"continuous"}
    # The continuous-time A is a parameter: exact, whatever the mode.
    assert {row["mode"] for row in rows(run, "spectrum")} == {"static"}
    twice = sk.analyze("tiny-mamba2", analyses=["spectrum", "spectrum"])
    assert twice.table("spectrum").num_rows == 3 * 12
    for wrong in ({"domain": "all"}, {"domain": ()}, {"analyses": ()}, {"mode": "dta"}):
        with pytest.raises(UsageError):
            sk.analyze("tiny-mamba2", **wrong)
