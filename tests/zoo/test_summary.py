"""A batch's summary: a run of its own, written as a whole, and left alone where nothing changed."""

from __future__ import annotations

import io
import re
import subprocess
import sys

import pytest
from rich.console import Group

from spectrakit.display.numbers import humanise
from spectrakit.errors import AnalysisError, OutputError
from spectrakit.report.drawing import draw_charts
from spectrakit.report.figures import render
from spectrakit.report.plain_console import PlainConsole
from spectrakit.tables import Manifest, MemorySink, read_run
from spectrakit.zoo.leaderboard import leaderboard
from spectrakit.zoo.leaderboard_chart import leaderboard_figure
from spectrakit.zoo.leaderboard_view import view
from spectrakit.zoo.results import Results
from spectrakit.zoo.schemas import BOARDS, LEADERBOARD, MODELS
from spectrakit.zoo.summary import write_summary
from tests.report.pictures import rows_of, words
from tests.report.synthetic import SyntheticRun
from tests.tables.samples import ROOT
from tests.zoo.readers import by_duckdb, by_polars
from tests.zoo.test_compact import state
from tests.zoo.zoos import data_run, log_uniform, weights_run, write_run

#: Names that a folder may have, each of which something might obey.
ODD = (
    "org--" + "a-very-long-name-" * 6 + "final",
    "<script>alert(1)<script>",
    "' + datum.value + '",
    "[bold]x[-bold] 100% {0} \\n",
    "日本語モデル",
    "a=b&c;d",
)
FAILED = {
    "model_id": ["tiny-mamba", "no/such"], "revision": ["local-1", ""], "run": ["m0", "no--such"],
    "model": ["tiny-mamba", "no/such"], "status": ["finished", "failed"],
    "kind": [None, "NetworkError"], "exit_code": [0, 6], "reason": [None, "unreachable"],
    "hint": [None, "spectrakit catalog list"], "mode": ["weights", None],
    "architecture": ["transformers-mamba", None], "plugin": ["spectrakit", None],
}  # fmt: skip


def odd_zoo(folder):
    for i, name in enumerate(ODD):
        weights_run(folder, name.replace("/", "_"), log_uniform(i, 10 ** -(1 + i / 2)), [0.1 * i])
    for i in range(3):
        data_run(folder, f"gpt-{i}", log_uniform(i, 1e-5), gauge="retained")
    weights_run(folder, "s4", [0.1], mode="static")
    write_run(folder, "none", SyntheticRun("none").absent())
    return folder


def in_memory(zoo):
    """The leaderboard as a run."""
    sink = MemorySink(Manifest(model_id="a batch", revision="", mode=""))
    sink.append(LEADERBOARD, leaderboard(Results(zoo)))
    return sink.run


def shown(run, width=100):
    console = PlainConsole(file=io.StringIO(), width=width, markup=False)
    console.print(Group(*view(run)))
    return console.file.getvalue()


def test_it_is_a_run_with_each_rows_own_model(tmp_path):
    for i in range(3):
        weights_run(tmp_path, f"m{i}", [0.1 + i])
    run = write_summary(tmp_path, MODELS.table(FAILED), draw_charts)
    assert sorted(path.name for path in (tmp_path / "summary").iterdir()) == [
        "leaderboard.parquet", "leaderboard.png", "leaderboard.svg", "models.parquet", "run.json",
    ]  # fmt: skip
    assert read_run(tmp_path / "summary").manifest == run.manifest
    assert run.table("models").select(list(FAILED)).to_pydict() == FAILED
    ranked = run.table("leaderboard").to_pylist()
    assert {row["model_id"] for row in ranked} == {"m0", "m1", "m2"}
    assert {row["revision"] for row in ranked} == {"local-m0", "local-m1", "local-m2"}
    for read in (by_duckdb, by_polars):
        path = tmp_path / "summary" / "leaderboard.parquet"
        assert len(read(path)) == len(ranked)
    assert run.table("leaderboard").schema.field("value").metadata[b"meaning"]


def test_where_nothing_changed_no_file_is_touched(tmp_path):
    weights_run(tmp_path, "m", [0.1])
    write_summary(tmp_path, MODELS.table(FAILED), draw_charts)
    before = state(tmp_path / "summary")
    write_summary(tmp_path, MODELS.table(FAILED), draw_charts)
    weights_run(tmp_path, "m", [0.1])  # again, and the same
    write_summary(tmp_path, MODELS.table(FAILED), draw_charts)
    assert state(tmp_path / "summary") == before


def test_what_changed_is_seen(tmp_path):
    weights_run(tmp_path, "m", [0.1])
    run = write_summary(tmp_path)
    assert run.tables == ("leaderboard",)
    before = run.table("leaderboard")["value"]
    weights_run(tmp_path, "m", [0.2])
    assert write_summary(tmp_path).table("leaderboard")["value"] != before
    weights_run(tmp_path, "n", [0.2])
    assert "n" in write_summary(tmp_path).table("leaderboard")["run"].to_pylist()
    assert write_summary(tmp_path, MODELS.table(FAILED)).tables == ("models", "leaderboard")
    other = FAILED | {"reason": [None, "no such model"]}
    assert write_summary(tmp_path, MODELS.table(other)).table("models")["reason"][1].as_py() == (
        "no such model"
    )


def test_a_summary_that_is_not_whole_is_written_anew(tmp_path):
    weights_run(tmp_path, "m", [0.1])
    write_summary(tmp_path)
    (tmp_path / "summary" / "leaderboard.parquet").write_bytes(b"")
    assert write_summary(tmp_path).table("leaderboard").num_rows > 0


def test_a_file_of_somebody_is_not_replaced(tmp_path):
    weights_run(tmp_path, "m", [0.1])
    (tmp_path / "summary").mkdir()
    (tmp_path / "summary" / "leaderboard.parquet").write_text("mine")
    with pytest.raises(OutputError, match="is there already, and no run wrote it"):
        write_summary(tmp_path)
    assert [path.name for path in (tmp_path / "summary").iterdir()] == ["leaderboard.parquet"]


def test_a_batch_without_a_finished_run(tmp_path):
    run = write_summary(tmp_path, MODELS.table(FAILED), draw_charts)
    assert run.table("leaderboard").num_rows == 0
    assert run.manifest.files == {}  # and no picture
    assert shown(run).strip() == "no finished run, and so no leaderboard"


def test_rows_that_lack_their_model_are_refused(tmp_path):
    columns = {name: values for name, values in FAILED.items() if name != "model_id"}
    with pytest.raises(AnalysisError, match="'model_id'"):
        MODELS.table(columns)


def test_the_terminal_says_what_decides_and_who_has_no_place(tmp_path):
    said = " ".join(shown(in_memory(odd_zoo(tmp_path))).split())
    for board, meaning in BOARDS.items():
        assert board in said
        assert " ".join(meaning.split()) in said
    assert "nominal · gauge unnormalised · 6 runs" in said
    assert "data · gauge retained · the bundled text, sequences of 512 tokens · 3 runs" in said
    assert "no place: 1 run: no discrete spectrum" in said
    assert "and 1 more" in said


@pytest.mark.parametrize("width", [60, 80, 100])
def test_names_of_all_kinds_leave_room_for_their_values(tmp_path, width):
    run = in_memory(odd_zoo(tmp_path))
    lines = shown(run, width).splitlines()
    assert all(len(line) <= width for line in lines)
    told = [line.split() for line in lines]
    for row in run.table("leaderboard").to_pylist()[:3]:
        assert any({f"{row['rank']}", humanise(row["value"])} <= set(line) for line in told)
    assert "\x1b" not in "".join(lines)


def test_the_picture_has_the_first_places_and_their_names_as_text(tmp_path):
    run = in_memory(odd_zoo(tmp_path))
    figure = leaderboard_figure(run)
    drawn = [row for data in rows_of(figure).values() for row in data]
    assert {row["place"] for row in drawn} == set(range(8))
    svg = render(figure, "svg")
    said = words(svg)
    assert "NaN" not in svg.decode()
    assert any("alert(1)" in word for word in said)
    assert "<script" not in svg.decode()
    assert any("datum.value" in word for word in said)
    assert any(word.startswith("1. …") or "…" in word for word in said)
    assert "Leaderboard" in said
    assert "1 more kind of spectra is in leaderboard.parquet" in said
    assert not set(re.findall(r"[a-z]+://[^\"'\s)]+", svg.decode())) - {
        "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink",
    }  # fmt: skip


@pytest.mark.parametrize(
    "rates",
    [[0.0], [float("inf")], [-1.0], [1e-300], [0.1]],
    ids=["all kept", "all gone", "all grow", "very slow", "one"],
)
def test_odd_spectra_are_shown_and_drawn_too(tmp_path, rates):
    weights_run(tmp_path, "one", rates)
    weights_run(tmp_path, "two", rates)
    run = in_memory(tmp_path)
    assert "nominal" in shown(run)
    svg = render(leaderboard_figure(run), "svg").decode()
    assert "NaN" not in svg
    values = {row["value"] for data in rows_of(leaderboard_figure(run)).values() for row in data}
    assert "0" in values  # of the pair: the two are alike


def test_without_places_there_is_no_picture(tmp_path):
    write_run(tmp_path, "none", SyntheticRun("none").absent())
    with pytest.raises(AnalysisError, match="no finished run has a place"):
        leaderboard_figure(in_memory(tmp_path))


def test_what_reads_runs_imports_what_it_needs_when_it_needs_it():
    code = (
        "import sys, spectrakit.zoo.results, spectrakit.zoo.compact, spectrakit.zoo.summary\n"
        "import spectrakit.zoo.leaderboard_view, spectrakit.zoo.leaderboard_chart\n"
        "print({'altair', 'vl_convert', 'pyarrow', 'torch', 'pandas'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "set()"
