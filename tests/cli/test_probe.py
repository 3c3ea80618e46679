"""`spectrakit analyze --analyses probe` as a user meets it."""

from __future__ import annotations

import json

import pytest

from spectrakit.tables import read_run

PROBE = ("analyze", "tiny-llama", "--analyses", "probe")
SMALL = ("--pairs", "2", "--prompts", "20")


def test_writes_the_table_and_the_picture_and_shows_both_accuracies(command, tmp_path):
    done = command(*PROBE, *SMALL, "--seed", "3", "--out", "run")
    assert done.code == 0, done.err
    assert "gold_position" in done.out
    assert "kv-retrieval, 20 prompts, 2 items each; the model itself is right in" in done.out
    assert {path.name for path in (tmp_path / "run").iterdir()} == {
        "layers.parquet", "probe.parquet", "probe.png", "probe.svg", "run.json",
    }  # fmt: skip
    run = read_run(tmp_path / "run")
    assert run.table("probe").num_rows == 2 * 4 * 3
    assert run.manifest.seed == 3
    options = run.manifest.spec["options"]["probe"]
    assert (options["prompt_set"], options["pairs"], options["prompts"]) == ("kv-retrieval", 2, 20)


def test_takes_a_file_of_the_public_format(command, tmp_path):
    records = [
        {"ordered_kv_records": [[f"k{n}", f"{n % 2}v"], [f"x{n}", "other"]], "key": f"k{n}"}
        for n in range(9)
    ]
    path = tmp_path / "kv.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    done = command(
        *PROBE, "--prompt-set", "kv-retrieval", "--prompt-file", path, "--json", "--no-figures"
    )
    assert done.code == 0, done.err
    assert set(json.loads(done.out)["tables"]) == {"layers", "probe"}


def test_beside_other_analyses(command, tmp_path):
    done = command(
        "analyze", "tiny-llama", "--analyses", "spectrum,probe", *SMALL, "--max-tokens", "64",
        "--out", "run", "--no-figures",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert {"spectrum_summary", "probe"} < set(read_run(tmp_path / "run").tables)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            ("--analyses", "spectrum", "--prompt-set", "kv-retrieval"),
            "--prompt-set is for the analysis probe",
        ),
        (("--analyses", "spectrum", "--pairs", "3"), "--pairs is for the analysis probe"),
        (("--analyses", "probe", "--prompt-set", "kv"), "unknown prompt set 'kv'"),
        (("--analyses", "probe", "--prompt-set", "multi-doc-qa"), "try: --prompt-file"),
        (("--analyses", "probe", "--prompts", "9"), "too few for 5 folds"),
        (("--analyses", "probe"), "try: --pairs 3"),
        (("--analyses", "probe", "--mode", "weights"), "try: --mode data"),
    ],
)
def test_what_cannot_be_done(command, arguments, says):
    done = command("analyze", "tiny-llama", *arguments)
    assert done.code == 2
    assert says in done.err
    assert "Traceback" not in done.err


def test_prompts_are_looked_at_before_the_text_is_run(command, monkeypatch):
    def run(*_):
        raise AssertionError("the text was run")

    monkeypatch.setattr("spectrakit.forward._see_text", run)
    done = command("analyze", "tiny-llama", "--analyses", "spectrum,probe")
    assert done.code == 2
    assert "1,005 tokens, the model takes 512 at most" in done.err
