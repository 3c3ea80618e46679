"""`analyze` beyond spectra: all analyses, their options, sweeps, random controls; `compare`."""

from __future__ import annotations

import json
import re

import pytest
from safetensors.torch import save_file

from spectrakit.analyses.running import chosen_kinds
from spectrakit.plugins import plugins
from spectrakit.tables import read_run
from tests.support import state_dicts

SMALL = ("--max-tokens", "512", "--seq-len", "128")


@pytest.mark.parametrize("model", ["tiny-mamba", "tiny-mamba2", "tiny-llama"])
def test_all_of_them_fill_their_tables_and_draw_their_pictures(command, tmp_path, model):
    done = command("analyze", model, "--analyses", "all", "--out", "run", *SMALL)
    assert done.code == 0, done.err
    run = read_run(tmp_path / "run")
    expected = {"spectrum_summary", "spectrum_histogram", "lyapunov", "decay_kernel",
                "memory_summary", "similarity", "propagation", "layers"}  # fmt: skip
    pictures = {"spectrum", "similarity", "propagation", "memory"}
    if model != "tiny-llama":  # attention keeps every key, and has no memory function
        expected.add("memory_function")
    if model == "tiny-mamba":
        expected |= {"spectrum"} & set(run.tables)
    assert expected <= set(run.tables)
    assert all(run.table(name).num_rows for name in run.tables)
    assert set(run.manifest.files) == {f"{p}.{kind}" for p in pictures for kind in ("png", "svg")}
    assert "cosine to next" in done.out
    assert "CKA to next" in done.out


def test_all_is_all_but_those_that_must_be_named():
    registry = plugins().analysis_kinds()
    named = {"rickenbach2025", "perturbation", "empirical_memory", "probe"}
    assert {kind.name for kind in chosen_kinds(registry, ["all"])} == set(registry.things) - named
    in_weights = chosen_kinds(registry, ["all"], forward=False)
    assert {kind.name for kind in in_weights} == {"spectrum", "lyapunov", "memory"}


def test_the_help_names_what_all_leaves_out(command):
    text = " ".join(command("analyze", "--help").out.split())
    said = text.partition("--analyses <str>")[2].partition("[default:")[0]
    registry = plugins().analysis_kinds()
    left_out = {name for name in registry.things if registry[name].in_all == "never"}
    assert left_out
    assert set(re.findall(r"\w+", said)) & set(registry.things) == left_out


@pytest.mark.parametrize("model", ["tiny-mamba", "tiny-mamba2"])
def test_all_of_them_run_on_weights_too(command, tmp_path, model):
    done = command("analyze", model, "--analyses", "all", "--mode", "weights", "--out", "run")
    assert done.code == 0, done.err
    run = read_run(tmp_path / "run")
    assert {"spectrum_summary", "lyapunov", "memory_function"} <= set(run.tables)
    assert all(run.table(name).num_rows for name in run.tables)


def test_hidden_states_need_a_forward_pass(command):
    done = command("analyze", "tiny-mamba", "--analyses", "similarity", "--mode", "weights")
    assert done.code == 2
    assert "similarity looks at hidden states, which weights mode does not have" in done.err


@pytest.mark.parametrize(
    ("option", "analysis"),
    [
        (("--horizon", "10"), "memory"),
        (("--past", "horizon"), "memory"),
        (("--drive", "blocks"), "empirical_memory"),
        (("--estimators", "cka"), "similarity"),
        (("--without-first",), "similarity"),
        (("--rank-tokens", "8"), "propagation"),
        (("--prompt-set", "kv-retrieval"), "probe"),
    ],
)
def test_an_option_of_an_analysis_that_is_not_run_is_refused(command, option, analysis):
    done = command("analyze", "tiny-mamba", *option)
    assert done.code == 2
    assert f"{option[0]} is for the analysis {analysis}" in done.err


def test_an_unknown_estimator_names_those_there_are(command):
    words = ("--analyses", "similarity", "--estimators", "cka,cca", *SMALL)
    done = command("analyze", "tiny-mamba", *words)
    assert done.code == 2
    assert "unknown --estimators 'cca'" in done.err
    assert "mutual_knn" in done.err


def test_a_sweep_of_lengths_is_a_run_of_each(command, tmp_path):
    words = ("--analyses", "propagation", "--no-figures", "--max-tokens", "256")
    done = command("analyze", "tiny-llama", *words, "--seq-len", "32,64", "--out", "s", "--json")
    assert done.code == 0, done.err
    runs = json.loads(done.out)["runs"]
    assert [run["folder"] for run in runs] == ["s/seq-32", "s/seq-64"]
    for length in (32, 64):
        run = read_run(tmp_path / "s" / f"seq-{length}")
        assert run.manifest.settings()["seq_len"] == length
        assert set(run.table("propagation")["seq_len"].to_pylist()) == {length}


@pytest.mark.parametrize("lengths", ["", "0", "12,x", "-5"])
def test_lengths_that_are_none_are_refused(command, lengths):
    done = command("analyze", "tiny-llama", "--mode", "data", f"--seq-len={lengths}")
    assert done.code == 2
    assert "is not a number of tokens" in done.err


def test_random_weights_are_another_model_in_every_table(command, tmp_path):
    words = ("--analyses", "spectrum", "--no-figures", *SMALL)
    for name, more in {
        "trained": ("--mode", "data"),
        "one": ("--randomize", "all", "--seed", "1"),
        "two": ("--randomize", "mixers", "--seed", "1"),
    }.items():
        assert command("analyze", "tiny-llama", *words, *more, "--out", name).code == 0
    runs = {name: read_run(tmp_path / name) for name in ("trained", "one", "two")}
    revisions = {name: run.manifest.revision for name, run in runs.items()}
    assert revisions["one"] == f"random-all-1-{revisions['trained']}"
    assert revisions["two"] == f"random-mixers-1-{revisions['trained']}"
    assert runs["one"].manifest.spec["randomize"] == "all"
    medians = {
        name: run.table("spectrum_summary")["timescale_q50"].to_pylist()[:3]
        for name, run in runs.items()
    }
    assert len({tuple(median) for median in medians.values()}) == 3


def test_weights_mode_has_a_random_control(command, tmp_path):
    words = ("analyze", "tiny-mamba", "--mode", "weights", "--no-figures")
    for name, more in {
        "trained": (),
        "one": ("--randomize", "all"),
        "two": ("--seed", "1"),
    }.items():
        more = more if name != "two" else ("--randomize", "mixers", *more)
        done = command(*words, *more, "--out", name)
        assert done.code == 0, done.err
    said = "mamba drawn anew as published in github.com/state-spaces/mamba: steps log-uniform in"
    assert said in " ".join(done.err.split())
    runs = {name: read_run(tmp_path / name) for name in ("trained", "one", "two")}
    assert {run.manifest.mode for run in runs.values()} == {"weights"}
    medians = {
        tuple(run.table("spectrum_summary")["timescale_q50"].to_pylist()) for run in runs.values()
    }
    assert len(medians) == 3
    done = command("compare", "trained", "two", "--out", "both")
    assert done.code == 0, done.err
    assert "randomize none and mixers; seed 0 and 1" in " ".join(done.out.split())
    done = command(*words, "--randomize", "mlps")
    assert done.code == 2
    assert "reads the layers that mix tokens alone, and no MLP" in " ".join(done.err.split())


def test_two_models_are_compared_where_their_tokens_end_together(command, tmp_path):
    for model in ("tiny-mamba", "tiny-llama"):
        words = ("--mode", "data", "--no-figures", *SMALL)
        assert command("analyze", model, "--out", model + "-run", *words).code == 0
    words = ("tiny-mamba-run", "tiny-llama-run", "--similarity", "--max-tokens", "512")
    done = command("compare", *words, "--out", "both")
    assert done.code == 0, done.err
    assert "1. tiny-mamba and 2. tiny-llama" in done.out
    assert "most alike" in done.out
    run = read_run(tmp_path / "both")
    assert {"comparison.png", "similarity.png"} <= set(run.manifest.files)
    rows = run.table("similarity").to_pylist()
    assert {row["other_model_id"] for row in rows} == {"tiny-llama"}
    assert {row["tokens_seen"] for row in rows} == {512}
    cka = {(r["depth"], r["other_depth"]): r["value"] for r in rows if r["estimator"] == "cka"}
    assert len(cka) == 16
    assert cka[0, 0] == max(cka.values())  # embeddings of the same bytes


def test_a_model_is_like_itself_at_every_depth(command, tmp_path):
    words = ("--mode", "data", "--no-figures", *SMALL)
    for name in ("one", "two"):
        assert command("analyze", "tiny-mamba2", "--out", name, *words).code == 0
    assert command("compare", "one", "two", "--similarity", "--out", "c").code == 0
    rows = read_run(tmp_path / "c").table("similarity").to_pylist()
    same = [row["value"] for row in rows if row["depth"] == row["other_depth"]]
    assert same == pytest.approx([1.0] * len(same))


def test_a_model_as_a_black_box_has_a_line_for_each_depth(command):
    words = ("--analyses", "empirical_memory", "--seq-len", "128", "--max-tokens", "4096")
    done = command("analyze", "tiny-mamba", *words, "--out", "run")
    assert done.code == 0, done.err
    lines = [line.split() for line in done.out.splitlines()]
    numbers = {line[1]: line[2:6] for line in lines if len(line) == 6 and line[0] == "0"}
    assert set(numbers) == {"0", "1", "2", "3"}
    assert float(numbers["0"][0]) > 0.99
    assert float(numbers["0"][1]) < 0.1 < 0.9 < float(numbers["1"][1])  # the mixer's convolution


def test_mixers_alone_have_a_line_for_each_layer_and_a_picture(command, tmp_path):
    words = ("--analyses", "empirical_memory", "--drive", "mixers", "--seq-len", "128")
    done = command("analyze", "tiny-mamba2", *words, "--out", "run", "--max-tokens", "4096")
    assert done.code == 0, done.err
    lines = [line.split() for line in done.out.splitlines()]
    numbers = {line[0]: line[2:4] for line in lines if len(line) == 6 and line[1] == "mamba2"}
    assert set(numbers) == {"0", "1", "2"}
    assert all(float(value) > 0.9 for both in numbers.values() for value in both)
    files = set(read_run(tmp_path / "run").manifest.files)
    assert files == {"empirical_memory.png", "empirical_memory.svg"}


def test_memory_of_two_runs_is_shown_side_by_side(command):
    for model in ("tiny-mamba", "tiny-mamba2"):
        assert command("analyze", model, "--analyses", "memory", "--out", model).code == 0
    done = command("compare", "tiny-mamba", "tiny-mamba2", "--out", "both")
    assert done.code == 0, done.err
    assert "90% by" in done.out
    assert "no table in common" not in done.out


def test_options_of_a_run_are_for_similarity_alone(command, tmp_path):
    done = command("compare", tmp_path, tmp_path, "--seq-len", "5")
    assert done.code == 2
    assert "--seq-len is for --similarity" in done.err


@pytest.fixture
def weight_file(tmp_path):
    """S4D layers without the rest of their model."""
    path = tmp_path / "layers.safetensors"
    save_file(state_dicts.layers(state_dicts.minimal_s4d), path)
    return path


def test_all_is_weights_mode_where_nothing_runs(command, tmp_path, weight_file):
    done = command("analyze", weight_file, "--analyses", "all", "--out", "run", "--no-figures")
    assert done.code == 0, done.err
    run = read_run(tmp_path / "run")
    assert run.manifest.mode == "weights"
    assert {"spectrum_summary", "lyapunov", "memory_function"} <= set(run.tables)


def test_a_file_that_cannot_be_run_has_a_control(command, tmp_path, weight_file):
    words = ("analyze", weight_file, "--analyses", "spectrum,memory", "--no-figures")
    for name, more in {"trained": (), "random": ("--randomize", "all", "--seed", "4")}.items():
        done = command(*words, *more, "--out", name)
        assert done.code == 0, done.err
    assert "s4d drawn anew as published in github.com/state-spaces/s4: A of diag-lin;" in done.err
    run = read_run(tmp_path / "random")
    assert {"spectrum_summary", "memory_function"} <= set(run.tables)
    assert run.manifest.revision.startswith("random-all-4-")
    assert command("compare", "trained", "random", "--out", "both").code == 0


@pytest.mark.parametrize(
    ("words", "code", "hint"),
    [
        (("--randomize", "mlps"), 2, "--randomize mixers"),
        (("--randomize", "mlps", "--mode", "weights"), 2, "--randomize mixers"),
        (("--randomize", "all", "--mode", "data"), 3, "--mode weights"),
        (("--analyses", "all,probe"), 2, "leave probe out"),
        (("--analyses", "similarity", "--mode", "weights"), 2, "leave similarity out"),
        (("--seq-len", "64"), 2, "leave --seq-len out"),
        (("--mode", "data"), 3, "--mode weights"),
        (("--text", "-", "--mode", "weights"), 2, "leave the text out"),
    ],
)
def test_a_file_that_cannot_be_run_is_sent_in_no_circle(command, weight_file, words, code, hint):
    done = command("analyze", weight_file, *words)
    assert (done.code, done.err.splitlines()[-1].strip()) == (code, f"try: {hint}")
