"""`spectrakit batch` as users type it: rightly, wrongly, and over names made to be hostile."""

from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import spectrakit as sk
from spectrakit.cli import batch_progress
from spectrakit.cli.app import build_app
from spectrakit.zoo.job import Outcome
from tests.cli.conftest import Done
from tests.conftest import CHECKPOINTS
from tests.zoo.killing import times

HOSTILE = {
    "../../outside": "tiny-mamba",
    "/etc/passwd": "tiny-mamba",
    "\x1b[31mred\x07": "tiny-mamba",
    "[bold]markup[/bold]": "tiny-mamba",
    "..": "tiny-mamba2",
    "x" * 300: "tiny-mamba2",
    "CON": "tiny-mamba2",
    "*": "tiny-mamba2",
}


def toml_of(models):
    """A list in TOML: each name with its model, and a seed of its own, or it were another's."""
    return "\n".join(
        f"[models.{json.dumps(name)}]\nmodel = {json.dumps(str(model))}\nseed = {number}\n"
        for number, (name, model) in enumerate(models.items())
    )


def broken(folder):
    """A checkpoint whose weights are no file of any format."""
    folder.mkdir()
    shutil.copy(CHECKPOINTS / "tiny-mamba" / "config.json", folder)
    (folder / "model.safetensors").write_bytes(b"\xff" * 64)
    return folder


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    """A batch that is done: two good models, and one that is broken; and how it was said."""
    folder = tmp_path_factory.mktemp("cli-batch")
    broken(folder / "[red]broken")
    (folder / "zoo.txt").write_text("tiny-mamba\ntiny-mamba2  # small\ntiny-mamba\n[red]broken\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("SPECTRAKIT_LOAD_PLUGINS", "")
        done = run("zoo.txt", "--out", "D", patch=patch)
    return folder, done


def run(*words, patch):
    words = ["batch", *map(str, words)]
    patch.setattr(sys, "argv", ["spectrakit", *words])
    result = CliRunner().invoke(build_app(), words)
    return Done(result.exit_code, result.stdout, result.stderr)


@pytest.fixture
def in_zoo(zoo, monkeypatch):
    """`in_zoo("status", "D")` where the batch is."""
    monkeypatch.chdir(zoo[0])
    monkeypatch.setenv("SPECTRAKIT_LOAD_PLUGINS", "")
    return lambda *words: run(*words, patch=monkeypatch)


def test_a_batch_with_a_failure_leaves_with_5_and_says_what_failed(zoo):
    folder, done = zoo
    assert done.code == 5
    assert "1 of 3 models failed" in done.err
    assert "--retry-failed" in done.err
    assert "named twice" in done.err or "duplicate" in done.err or "more than once" in done.err
    assert "2 of 3 models finished; wrote 2 runs into" in done.err
    assert "[red]broken" in done.out  # as it is: no markup
    rows = pq.read_table(folder / "D" / "summary" / "models.parquet").to_pylist()
    kinds = {row["run"]: (row["status"], row["exit_code"]) for row in rows}
    assert kinds["tiny-mamba"] == ("finished", None)
    (bad,) = (kind for kind in kinds.values() if kind[0] == "failed")
    assert bad == ("failed", 4)


def test_the_leaderboard_is_there_as_table_picture_and_text(zoo):
    folder, done = zoo
    names = {path.name for path in (folder / "D" / "summary").iterdir()}
    assert {"leaderboard.parquet", "leaderboard.png", "leaderboard.svg", "run.json"} <= names
    assert "longest memory" in done.out
    assert "oddest" in done.out


def test_again_computes_nothing_and_touches_no_file(zoo, in_zoo):
    before = times(zoo[0] / "D")
    again = in_zoo("zoo.txt", "--out", "D")
    assert times(zoo[0] / "D") == before
    assert again.code == 5
    assert "2 of 3 models finished, 2 of them before; wrote 0 runs" in again.err
    assert "longest memory" in again.out


def test_without_what_failed_it_leaves_with_0(in_zoo):
    assert in_zoo("tiny-mamba", "tiny-mamba2", "--out", "D").code == 0


def test_json_is_one_document(zoo, in_zoo):
    done = in_zoo("zoo.txt", "--out", "D", "--json")
    document = json.loads(done.out)
    assert (document["models"], document["finished"], document["computed"]) == (3, 2, 0)
    (failure,) = document["failed"]
    assert failure["exit_code"] == 4
    assert {row["board"] for row in document["leaderboard"]} >= {"longest memory"}
    status = json.loads(in_zoo("status", "D", "--json").out)
    assert status["counts"] == {
        "finished": 2, "failed": 1, "running": 0, "unfinished": 0, "not begun": 0}  # fmt: skip
    planned = json.loads(in_zoo("zoo.txt", "--out", "D", "--dry-run", "--json").out)
    assert (planned["finished"], planned["models"]) == (2, [])


def test_status_tells_what_failed_and_compact_writes_one_file_a_table(zoo, in_zoo):
    status = in_zoo("status", "D")
    assert (status.code, "2 finished, 1 failed" in status.out) == (0, True)
    assert "red_broken" in status.out
    compact = in_zoo("compact", "D")
    assert compact.code == 0
    assert "D/compact/layers.parquet" in compact.out.splitlines()
    shutil.rmtree(zoo[0] / "D" / "compact")


def test_a_dry_run_writes_nothing_and_says_what_it_would_take(zoo, in_zoo):
    before = times(zoo[0])
    done = in_zoo("tiny-mamba", "tiny-llama", "--seq-len", "64", "--max-tokens", "128", "--mode",
                  "data", "--out", "new", "--dry-run")  # fmt: skip
    assert done.code == 0
    assert "would run" in done.out
    assert "2 models would be run" in done.err
    assert times(zoo[0]) == before


def test_hostile_names_stay_in_the_folder_and_print_harmlessly(command, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "zoo.toml").write_text(toml_of(HOSTILE))
    before = {path.name for path in tmp_path.parent.iterdir()} | {"in", "D"}
    done = command("batch", "in/zoo.toml", "--mode", "weights", "--out", "D")
    assert done.code == 0, done.err
    runs = sorted(path.name for path in (tmp_path / "D" / "runs").iterdir())
    assert len(runs) == len(HOSTILE)
    assert all(len(name.encode()) <= 120 and name.isprintable() for name in runs)
    assert not any(name.startswith(".") or set(name) & set('/\\*[]"') for name in runs)
    assert {path.name for path in tmp_path.iterdir()} == {"in", "D"}
    assert {path.name for path in tmp_path.parent.iterdir()} <= before
    for text in (done.out, done.err, command("batch", "status", "D").out):
        assert not set(text) & {"\x1b", "\x07"}


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["tiny-mambo", "--out", "D"], 2, "tiny-mamba"),
        (["no/../such", "--out", "D"], 2, "no/../such"),
        (["'*xyzzy*'", "--out", "D"], 2, "xyzzy"),
        (["tiny-mamba"], 2, "--out"),
        (["tiny-mamba", "--out", "D", "--jobs", "0"], 2, "--jobs"),
        (["tiny-mamba", "--out", "D", "--jobs", "many"], 2, "--jobs"),
        *((["tiny-mamba", "--out", "D", "--shard", each], 2, "--shard")
          for each in ("", "0/2", "3/2", "1", "1/0", "a/b", "1/2/3", "-1/2", "²/3")),
        (["tiny-mamba", "--out", "D", "--threads", "0"], 2, "--threads"),
        (["tiny-mamba", "--out", "D", "--time-limit", "-1"], 2, "--time-limit"),
        (["tiny-mamba", "--out", "D", "--memory-limit", "nan"], 2, "--memory-limit"),
        (["tiny-mamba", "--out", "D", "--analyses", "spectum"], 2, "spectrum"),
        (["tiny-mamba", "--out", "D", "--retries", "-1"], 2, "--retries"),
        (["tiny-mamba", "--out", "file"], 2, "is not the folder of a batch"),
        (["tiny-mamba", "--out", "file/D"], 1, "file"),
        (["tiny-mamba", "--out", "mine"], 2, "is not the folder of a batch"),
        (["tiny-mamba", "--out", "run"], 2, "is not the folder of a batch"),
        (["status", "none"], 2, "there is no batch in"),
        (["status", "mine"], 2, "there is no batch in"),
        (["compact", "none"], 2, "there is no batch in"),
        (["status"], 2, "FOLDER"),
        (["tiny-mamba", "--text", "-", "--mode", "data", "--out", "D"], 2, "standard input"),
        (["tiny-mamba", "--text", "none.txt", "--mode", "data", "--out", "D"], 2, "none.txt"),
        (["hf://someone", "--out", "D"], 6, "127.0.0.1"),
        (["tiny-mamba", "--out", "D", "--mode", "weights", "--seq-len", "9"], 2,
         "--seq-len is for data mode"),
        (["tiny-mamba", "--out", "run/D"], 2, "lies in the folder of a run"),
        (["statu", "mine"], 2, "did you mean status?"),
        (["zooo.txt", "--out", "D"], 2, "there is no file or folder 'zooo.txt'"),
        (["TINY-MAMBA", "--out", "D"], 2, "did you mean tiny-mamba?"),
    ],
    ids=lambda what: "-".join(map(str, what)) if isinstance(what, list) else "",
)  # fmt: skip
def test_a_wrong_word_is_an_error_of_one_line_and_nothing_is_written(
    command, tmp_path, words, code, says
):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text("{}")
    before = times(tmp_path)
    done = command("batch", *words)
    assert done.code == code, done
    assert says in done.err
    assert "Traceback" not in done.err
    assert done.out == ""
    assert times(tmp_path) == before


@pytest.mark.parametrize(
    ("name", "content", "code", "says"),
    [
        ("zoo.txt", b"\x00\x01\x02\xff" * 40, 4, "zoo.txt"),
        ("zoo.txt", "tiny-mamba\n".encode("utf-16"), 4, "zoo.txt"),
        ("zoo.txt", b"# nothing\n", 2, "zoo.txt"),
        ("zoo.txt", b"tiny-mamba\ntiny-mambo\n", 2, "line 2"),
        ("zoo.csv", b"name,revision\na,b\n", 2, "model"),
        ("zoo.csv", b"model,horizn\ntiny-mamba,1\n", 2, "horizn"),
        ("zoo.toml", b"[models.a\n", 4, "zoo.toml"),
        ("zoo.toml", b"[models.a]\nmodel = 'tiny-mamba'\nsed = 1\n", 2, "seed"),
        ("zoo.toml", b"[models.a]\nmodel = 3\n", 2, "line"),
        ("zoo.toml", b"models = 3\n", 2, "models"),
    ],
)
def test_a_list_that_is_not_what_it_says(command, tmp_path, name, content, code, says):
    (tmp_path / name).write_bytes(content)
    done = command("batch", name, "--out", "D")
    assert (done.code in (2, 4), says in done.err) == (True, True), done
    assert done.err.startswith("error: ")
    assert done.code == code, done
    assert not (tmp_path / "D").exists()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"format": "x"}', b"\xff", b"[" * 99999])
def test_a_damaged_mark_is_an_error_whose_next_step_mends_it(command, tmp_path, content):
    (tmp_path / "D" / "runs").mkdir(parents=True)
    (tmp_path / "D" / "batch.json").write_bytes(content)
    done = command("batch", "tiny-mamba", "--out", "D", "--dry-run")
    assert done.code == 4
    assert "batch.json is damaged" in done.err
    subprocess.run(done.err.partition("if it is one: ")[2], shell=True, check=True)
    assert command("batch", "status", "D").code == 0


def test_a_newer_batch_is_not_touched(command, tmp_path):
    (tmp_path / "D").mkdir()
    (tmp_path / "D" / "batch.json").write_text('{"format": 2}')
    done = command("batch", "tiny-mamba", "--out", "D")
    assert (done.code, "newer spectrakit" in done.err) == (2, True)


def test_a_driver_that_died_as_it_made_the_folder_is_in_nobodys_way(command, tmp_path):
    (tmp_path / "D").mkdir()
    (tmp_path / "D" / ".batch.json.77.tmp").write_text('{"for')
    assert command("batch", "tiny-mamba", "--out", "D", "--mode", "weights").code == 0
    assert sorted(path.name for path in (tmp_path / "D").iterdir()) == [
        "batch.json", "journal", "runs", "summary"]  # fmt: skip


def test_without_a_terminal_there_is_a_line_each_half_minute(monkeypatch, capsys):
    now = [1000.0]
    monkeypatch.setattr(batch_progress.time, "monotonic", lambda: now[0])
    with batch_progress.watching() as watch:
        watch.begin(10, 2, 1)
        for name in ("a", "b\x1b[31m", "c"):
            watch.started(name)
        watch.ended(Outcome("a"), again=False)
        watch.ended(Outcome("c", failure="killed", exit_code=1, reason="so"), again=True)
        watch.started("c")
        for _ in range(60):
            now[0] += 1
            watch.tick()
        watch.ended(Outcome("c", failure="killed", exit_code=1, reason="so"), again=False)
        now[0] += 30
        watch.tick()
    told = capsys.readouterr().err.splitlines()
    assert told == [
        "tried again: c: so",
        "4 of 10 models, 1 failed, about 3 min left; running: b\\x1b[31m, c",
        "4 of 10 models, 1 failed, about 6 min left; running: b\\x1b[31m, c",
        "failed: c: so",
        "5 of 10 models, 2 failed, about 4 min left; running: b\\x1b[31m",
    ]


def test_in_a_terminal_there_is_one_bar_and_it_is_gone_in_the_end(tmp_path):
    ours, theirs = pty.openpty()
    root = Path(__file__).parents[2]
    paths = os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")]))
    with subprocess.Popen(
        [sys.executable, "-m", "spectrakit", "batch", "tiny-mamba", "--mode", "weights", "--out",
         "D"],
        cwd=tmp_path, stdin=theirs, stdout=subprocess.DEVNULL, stderr=theirs,
        env=os.environ | {"PYTHONPATH": paths, "TERM": "xterm", "SPECTRAKIT_LOAD_PLUGINS": ""},
    ) as process:  # fmt: skip
        os.close(theirs)
        shown = b""
        try:
            while got := os.read(ours, 1 << 16):
                shown += got
        except OSError:  # the other end is closed
            pass
        os.close(ours)
    text = shown.decode()
    assert process.returncode == 0
    assert "0 of 1 models" in text
    assert "tiny-mamba" in text
    last = text[text.rindex("\x1b[2K") :]  # the bar was wiped before the last line
    assert "1 of 1 models finished" in last
    assert "\u2501" not in last


def test_settings_of_data_mode_do_not_touch_models_whose_weights_are_enough(in_zoo):
    done = in_zoo(
        "tiny-mamba", "tiny-llama", "--max-tokens", "256", "--seq-len", "64", "--out", "M"
    )
    assert done.code == 0, done.err
    mamba, llama = (sk.read_run(Path("M", "runs", name)) for name in ("tiny-mamba", "tiny-llama"))
    assert (mamba.manifest.mode, llama.manifest.mode) == ("weights", "data")
    assert llama.manifest.tokens == 256
    alone = sk.analyze("tiny-mamba")
    assert mamba.manifest.settings() == alone.manifest.settings()
    assert mamba.table("spectrum_summary").equals(alone.table("spectrum_summary"))


@pytest.mark.parametrize("told", [["--token", "hf_secret"], ["--token=secret of mine"]])
def test_no_file_holds_the_token(in_zoo, told):
    folder = Path("T" + str(len(told)))
    assert in_zoo("tiny-mamba", "--out", folder, *told).code == 0
    files = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    assert files
    assert not [content for content in files if b"secret" in content]


def test_what_is_replaced_is_told_and_comes_back(in_zoo):
    assert in_zoo("tiny-mamba", "--out", "R").code == 0
    first = Path("R/runs/tiny-mamba/run.json").stat().st_mtime_ns
    done = in_zoo("tiny-mamba", "--out", "R", "--seed", "1")
    assert "1 of these models have a run with other settings, which is moved to R/stale" in done.err
    again = in_zoo("tiny-mamba", "--out", "R")
    assert "wrote 0 runs" in again.err
    assert Path("R/runs/tiny-mamba/run.json").stat().st_mtime_ns == first
