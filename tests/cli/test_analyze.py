"""`spectrakit analyze` as a user meets it: tables, files, streams, exit codes."""

from __future__ import annotations

import json
import math
import os
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors.torch import load_file, save_file

from spectrakit.tables import read_run
from tests.conftest import CHECKPOINTS
from tests.support.hub import HubServer
from tests.support.mamba_ssm_files import write_mamba_ssm

SECRET = "hf_" + "NotARealToken" * 3


def test_the_bundled_model_by_name(command, tmp_path):
    done = command("analyze", "tiny-mamba")
    assert done.code == 0
    assert "nominal" in done.out
    assert done.out.count("mamba") >= 3
    assert "wrote spectrakit-runs/tiny-mamba/local-" in done.err
    (folder,) = (tmp_path / "spectrakit-runs" / "tiny-mamba").glob("local-*/weights")
    assert {path.name for path in folder.iterdir()} == {
        "layers.parquet", "run.json", "spectrum.parquet", "spectrum.png", "spectrum.svg",
        "spectrum_histogram.parquet", "spectrum_summary.parquet",
    }  # fmt: skip
    run = read_run(folder)
    assert run.table("spectrum").num_rows == 3 * 192 * 16
    assert run.manifest.command == "spectrakit analyze tiny-mamba"


def test_json_is_exactly_one_document_with_the_paths(command, tmp_path):
    done = command("analyze", "tiny-mamba2", "--domain", "both", "--json", "--out", "run")
    document = json.loads(done.out)
    assert document["mode"] == "weights"
    assert {Path(path).name for path in document["figures"]} == {"spectrum.png", "spectrum.svg"}
    for name, path in document["tables"].items():
        assert pq.read_table(tmp_path / path).num_rows > 0, name
    for layer in document["layers"]:
        assert set(layer["spectrum"]) == {"discrete", "continuous"}
        assert 0 < layer["spectrum"]["discrete"]["spectral_radius"] < 1
        assert layer["spectrum"]["continuous"]["spectral_radius"] is None
        assert layer["spectrum"]["continuous"]["spectral_abscissa"] < 0


@pytest.mark.parametrize("domain", ["discrete", "continuous"])
@pytest.mark.parametrize("mode", ["weights", "data"])
def test_every_mode_and_domain_has_a_table(command, mode, domain):
    done = command(
        "analyze", "tiny-mamba2", "--mode", mode, "--domain", domain,
        "--out", "run", *(["--max-tokens", "64"] if mode == "data" else []),
    )  # fmt: skip
    assert done.code == 0, done.err
    assert f"{domain}: " in done.out
    other = {"discrete": "continuous", "continuous": "discrete"}[domain]
    assert f"{other}: " not in done.out


def test_text_and_tokens_mean_data_mode(command, tmp_path):
    (tmp_path / "t.txt").write_text("Now is the winter of our discontent\n" * 4)
    np.save(tmp_path / "t.npy", np.arange(64))
    for option, name in (("--text", "t.txt"), ("--tokens", "t.npy")):
        done = command("analyze", "tiny-mamba", option, name, "--json", "--no-figures")
        assert json.loads(done.out)["mode"] == "data"
    done = command("analyze", "tiny-mamba", "--text", "-", "--json", input="read from a pipe")
    assert json.loads(done.out)["mode"] == "data"


def test_layers_that_cannot_be_read_are_listed_with_the_reason(command, tmp_path):
    write_mamba_ssm(CHECKPOINTS / "tiny-mamba2", tmp_path / "hybrid", attn_layer_idx=[1])
    done = command("analyze", "hybrid")
    assert done.code == 0
    assert "attention" in done.out
    assert "attention that is not causal" in done.out


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A Hub with a tiny model in the original format, and its tokenizer's repository."""
    folder = write_mamba_ssm(CHECKPOINTS / "tiny-mamba", tmp_path / "original")
    with HubServer(cdn=True) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        server.add_repo("state-spaces/mamba-130m", {p.name: p for p in folder.iterdir()})
        tokenizer = CHECKPOINTS / "tiny-mamba" / "tokenizer.json"
        server.add_repo("EleutherAI/gpt-neox-20b", {"tokenizer.json": tokenizer})
        yield server


def test_a_hub_model_by_its_name_reads_ranges_and_records_the_commit(command, hub):
    done = command("analyze", "state-spaces/mamba-130m", "--json", "--out", "run")
    document = json.loads(done.out)
    assert document["model_id"] == "state-spaces/mamba-130m"
    assert document["revision"] == hub.repos["state-spaces/mamba-130m"].sha
    ranged = [seen for seen in hub.seen if seen.range and "pytorch_model.bin" in seen.path]
    assert ranged
    whole = [s for s in hub.seen if s.method == "GET" and "pytorch_model.bin" in s.path]
    assert all(seen.range for seen in whole if "localhost" in seen.host)


def test_a_hub_model_runs_with_the_tokenizer_the_catalog_names(command, hub):
    arguments = ("analyze", "mamba-130m", "--mode", "data", "--max-tokens", "64", "--json")
    done = command(*arguments, "--out", "run", "--cache-dir", "cache")
    assert done.code == 0, done.err
    assert json.loads(done.out)["mode"] == "data"
    assert any("EleutherAI/gpt-neox-20b" in seen.path for seen in hub.seen)
    # Everything is in the cache now, the tokenizer included.
    hub.forget()
    again = command(*arguments, "--out", "again", "--cache-dir", "cache", "--offline")
    assert again.code == 0, again.err
    assert hub.requests == 0


def test_a_full_download_is_the_ordinary_cache(command, hub, tmp_path):
    done = command("analyze", "mamba-130m", "--full-download", "--cache-dir", "cache", "--json")
    assert done.code == 0, done.err
    assert list((tmp_path / "cache").glob("models--state-spaces--mamba-130m/snapshots/*/*.bin"))
    hub.forget()
    again = command("analyze", "mamba-130m", "--cache-dir", "cache", "--offline", "--json")
    assert json.loads(again.out)["tables"].keys() == json.loads(done.out)["tables"].keys()
    assert hub.requests == 0


def test_the_token_is_nowhere_in_what_is_written(command, hub, tmp_path):
    hub.tokens.add(SECRET)
    hub.repos["state-spaces/mamba-130m"].gated = True
    done = command("analyze", "mamba-130m", "--token", SECRET, "--out", "run")
    assert done.code == 0, done.err
    hub.repos["state-spaces/mamba-130m"].private = True
    hub.tokens.clear()
    failed = command("analyze", "mamba-130m", "--token", SECRET, "--out", "run2")
    assert failed.code != 0
    for text in (done.out, done.err, failed.out, failed.err):
        assert SECRET not in text
    for path in (tmp_path / "run").iterdir():
        assert SECRET.encode() not in path.read_bytes()
    assert "--token ***" in read_run(tmp_path / "run").manifest.command


def damaged(tmp_path, change):
    shutil.copytree(CHECKPOINTS / "tiny-mamba", tmp_path / "m")
    weights = load_file(tmp_path / "m" / "model.safetensors")
    change(weights)
    save_file(weights, tmp_path / "m" / "model.safetensors")
    return "m"


def nan(weights):
    weights["backbone.layers.2.mixer.A_log"][3, 4] = math.nan


def missing(weights):
    del weights["backbone.layers.0.mixer.D"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["no such model"], 2, "'no such model' is neither a file, a folder"),
        (["./nowhere"], 2, "nowhere"),
        (["tiny-mamba", "--mode", "dat"], 2, "dat"),
        (["tiny-mamba", "--analyses", "spectra"], 2, "unknown analysis 'spectra'"),
        (["tiny-mamba", "--mode", "weights", "--text", "x"], 2, "weights mode reads no text"),
        (["tiny-mamba", "--text", "none.txt"], 2, "cannot read the text none.txt"),
        (["tiny-mamba", "--tokenizer", "bytes"], 2, "--tokenizer is for data mode"),
        (["tiny-mamba", "--mode", "data", "--device", "cuda:99"], 2, "no device 'cuda:99'"),
        (["tiny-mamba", "--mode", "data", "--seq-len", "0"], 2, "--seq-len"),
        (["tiny-mamba", "--revision", "main"], 2, "no revision"),
        (["org/model"], 6, "cannot reach"),
        (["org/model", "--offline"], 6, "not in the cache"),
    ],
)
def test_errors_are_one_line_with_their_exit_code(command, tmp_path, arguments, code, message):
    done = command("analyze", *arguments)
    assert done.code == code
    assert message in done.err
    assert "Traceback" not in done.err
    assert done.out == ""
    assert not (tmp_path / "spectrakit-runs").exists()


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [(nan, 4, "layer 2: "), (missing, 4, "backbone.layers.0.mixer.D")],
)
def test_damaged_models_leave_nothing_half_written(command, tmp_path, change, code, message):
    name = damaged(tmp_path, change)
    for extra in ([], ["--mode", "data"]):
        done = command("analyze", name, "--out", "run", *extra)
        assert done.code == code
        assert message in done.err
        assert done.err.count("\n") == 2  # the error, and what to try
        assert not (tmp_path / "run").exists()


def test_an_unknown_model_type_is_exit_3(command, tmp_path):
    shutil.copytree(CHECKPOINTS / "tiny-llama", tmp_path / "m")
    (tmp_path / "m" / "config.json").write_text('{"model_type": "reformer"}')
    done = command("analyze", "m")
    assert done.code == 3
    assert "try: spectrakit inspect m\n" in done.err
    assert "plugins list" in done.err


def test_an_output_folder_that_cannot_be_one(command, tmp_path):
    (tmp_path / "file").write_text("")
    done = command("analyze", "tiny-mamba", "--out", "file/run")
    assert done.code == 1
    assert "--out" in done.err


def test_a_bug_is_one_line_too_and_says_how_to_see_more(command, monkeypatch):
    from spectrakit import pipeline

    def fail(*_, **__):
        raise RuntimeError("inner " + SECRET)

    monkeypatch.setattr(pipeline, "analyze", fail)
    done = command("analyze", "tiny-mamba")
    assert done.code == 1
    assert done.err.startswith("error: RuntimeError: inner hf_***\n")
    assert "SPECTRAKIT_DEBUG=1" in done.err
    monkeypatch.setenv("SPECTRAKIT_DEBUG", "1")
    done = command("analyze", "tiny-mamba")
    assert "Traceback" in done.err
    assert SECRET not in done.err


def truncated(folder):
    (folder / "model.safetensors").write_bytes(
        (CHECKPOINTS / "tiny-mamba" / "model.safetensors").read_bytes()[:500_000]
    )


def empty(folder):
    (folder / "model.safetensors").write_bytes(b"")


def zeros(folder):
    (folder / "model.safetensors").write_bytes(bytes(1000))


def escaping_index(folder):
    (folder / "model.safetensors").rename(folder.parent / "outside.safetensors")
    index = {"weight_map": {"backbone.layers.0.mixer.D": "../outside.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def evil_pickle(folder):
    import torch

    (folder / "model.safetensors").unlink()
    torch.save({"a": torch.zeros(1), "b": os.system}, folder / "pytorch_model.bin")


def other_pickle(folder):
    import torch

    (folder / "model.safetensors").unlink()
    torch.save({"a": torch.zeros(1), "b": Path("x")}, folder / "pytorch_model.bin")


def held_tensor(folder):
    import torch

    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    held = torch.nn.ParameterList([state["backbone.layers.1.mixer.A_log"]])
    torch.save({"model": state, "ema": held}, folder / "pytorch_model.bin")


def legacy_tar(folder):
    import tarfile

    (folder / "model.safetensors").unlink()
    with tarfile.open(folder / "pytorch_model.bin", "w") as tar:
        tar.add(folder / "config.json", "storages")


def zip_bomb(folder):
    import zipfile

    (folder / "model.safetensors").unlink()
    with zipfile.ZipFile(folder / "pytorch_model.bin", "w", zipfile.ZIP_DEFLATED) as bomb:
        bomb.writestr("archive/data.pkl", bytes(10_000_000))


@pytest.mark.parametrize(
    "damage",
    [
        truncated,
        empty,
        zeros,
        escaping_index,
        evil_pickle,
        other_pickle,
        held_tensor,
        legacy_tar,
        zip_bomb,
    ],
    ids=lambda damage: damage.__name__,
)
def test_unsafe_and_damaged_files_are_exit_4(command, tmp_path, damage):
    shutil.copytree(CHECKPOINTS / "tiny-mamba", tmp_path / "m")
    damage(tmp_path / "m")
    for extra in ([], ["--mode", "data"]):
        done = command("analyze", "m", "--out", "run", *extra)
        assert done.code == 4, done.err
        said = [line for line in done.err.splitlines() if not line.startswith("note: ")]
        assert said[0].startswith("error: ")
        assert "Traceback" not in done.err
        assert not (tmp_path / "run").exists()


def test_the_hub_refusing_is_exit_6(command, hub, tmp_path):
    repo = hub.repos["state-spaces/mamba-130m"]
    repo.gated = True
    gated = command("analyze", "mamba-130m", "--out", "run")
    assert gated.code == 6
    assert "gated" in gated.err.lower()
    repo.gated = False
    hub.fail("/api/models", 99, status=404, headers={"X-Error-Code": "RepoNotFound"})
    assert command("analyze", "mamba-130m", "--out", "run").code == 2
    assert not (tmp_path / "run").exists()


def test_a_sharded_folder_is_analysed_like_one_file(command, tmp_path):
    shutil.copytree(CHECKPOINTS / "tiny-mamba", tmp_path / "m")
    weights = load_file(tmp_path / "m" / "model.safetensors")
    (tmp_path / "m" / "model.safetensors").unlink()
    placed = {}
    for shard, names in enumerate((sorted(weights)[::2], sorted(weights)[1::2])):
        file = f"model-{shard + 1:05}-of-00002.safetensors"
        save_file({name: weights[name] for name in names}, tmp_path / "m" / file)
        placed |= dict.fromkeys(names, file)
    (tmp_path / "m" / "model.safetensors.index.json").write_text(json.dumps({"weight_map": placed}))
    for name, out in (("m", "sharded"), ("tiny-mamba", "whole")):
        assert command("analyze", name, "--out", out, "--no-figures").code == 0
    sharded, whole = (
        read_run(tmp_path / out).table("spectrum").drop_columns(["model_id", "revision"])
        for out in ("sharded", "whole")
    )
    assert sharded.equals(whole)


def test_options_of_a_forward_pass_are_used_where_there_is_one(command, tmp_path):
    done = command(
        "analyze", "tiny-llama", "--seq-len", "32", "--max-tokens", "64", "--out", "run",
        "--no-figures",
    )  # fmt: skip
    assert done.code == 0, done.err
    source = read_run(tmp_path / "run").manifest.spec["source"]
    assert (source["seq_len"], source["max_tokens"]) == (32, 64)
    summary = read_run(tmp_path / "run").table("spectrum_summary").to_pylist()
    assert summary[0]["count"] == 2 * 31 * 6  # heads; the first token has nothing before it


@pytest.mark.parametrize(
    "option",
    [["--seq-len", "64"], ["--batch-size", "2"], ["--device", "cpu"], ["--dtype", "bfloat16"],
     ["--gauge", "dsf"], ["--tokenizer", "bytes"], ["--max-tokens", "9"]],
    ids=lambda option: option[0],
)  # fmt: skip
def test_options_of_a_forward_pass_are_refused_where_there_is_none(command, option):
    done = command("analyze", "tiny-mamba", *option)
    assert done.code == 2
    assert f"{option[0]} is for data mode" in done.err
    assert "--mode data" in done.err


def test_other_settings_have_another_folder(command, tmp_path):
    for extra in ([], ["--domain", "both"]):
        assert command("analyze", "tiny-mamba2", "--no-figures", *extra).code == 0
    names = sorted(p.name for p in (tmp_path / "spectrakit-runs/tiny-mamba2").glob("*/*"))
    assert names[0] == "weights"
    assert names[1].startswith("weights-")


def test_a_domain_that_no_layer_has(command):
    done = command("analyze", "tiny-llama", "--domain", "continuous", "--max-tokens", "64")
    assert done.code == 1
    assert "no layer has a continuous-time A" in done.err


def test_a_released_analysis_is_announced(command):
    done = command(
        "analyze", "tiny-llama", "--compat", "rickenbach2025", "--max-tokens", "64",
        "--no-figures",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert "not the eigenvalues of the" in done.out
    done = command("analyze", "tiny-llama", "--compat", "rickenbach2025", "--gauge", "dsf")
    assert done.code == 2
