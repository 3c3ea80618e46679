"""`sk.batch` and `sk.read_batch`: the same as the command line, as values."""

from __future__ import annotations

import pytest

import spectrakit as sk
from spectrakit.errors import UsageError


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    """Two good models and one that is none."""
    folder = tmp_path_factory.mktemp("zoo")
    missing = folder / "empty"
    missing.mkdir()
    (missing / "config.json").write_text("{}")
    (missing / "model.safetensors").write_bytes(b"short")
    return sk.batch(
        "tiny-mamba", "tiny-mamba2", missing, out=folder / "zoo", mode="weights", time_limit=300
    )


def test_runs_and_failures_are_there_by_name(zoo):
    assert zoo.runs == ("tiny-mamba", "tiny-mamba2")
    ((name, reason),) = zoo.failed.items()
    assert name.endswith("empty")
    assert "model.safetensors" in reason
    assert zoo.run("tiny-mamba2").manifest.model_id == "tiny-mamba2"
    with pytest.raises(UsageError, match="no finished run"):
        zoo.run(name)


def test_tables_are_of_all_runs(zoo):
    alone = {name: zoo.run(name).table("layers").num_rows for name in zoo.runs}
    assert zoo.table("layers").num_rows == sum(alone.values()) == 6
    assert zoo.dataset("spectrum").count_rows() == sum(
        zoo.run(name).table("spectrum").num_rows for name in zoo.runs
    )
    assert {"layers", "spectrum", "spectrum_summary", "spectrum_histogram"} == set(zoo.tables)
    with pytest.raises(UsageError, match="no finished run .* has a table 'layer'"):
        zoo.table("layer")


def test_the_summary_says_what_became_of_each(zoo):
    rows = {row["run"]: row for row in zoo.summary.table("models").to_pylist()}
    (failed,) = (rows[name] for name in zoo.failed)
    assert (failed["status"], failed["kind"], failed["exit_code"]) == ("failed", "error", 4)
    assert rows["tiny-mamba"]["status"] == "finished"
    assert rows["tiny-mamba"]["architecture"] == "transformers-mamba"
    assert "longest memory" in zoo._repr_html_()


def test_it_is_opened_again_and_goes_on(zoo):
    again = sk.batch("tiny-mamba", "tiny-mamba2", out=zoo.folder, mode="weights", time_limit=300)
    assert again == sk.read_batch(zoo.folder) == zoo
    with pytest.raises(UsageError, match="no batch"):
        sk.read_batch(zoo.folder / "runs")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"jobs": 0}, "jobs must be at least 1"),
        ({"shard": "3/2"}, "shard must be I/N"),
        ({"dry_run": True}, "dry_run is for the command line"),
        ({"sequence_length": 3}, "unknown setting sequence_length"),
        ({"horizon": 3}, "horizon is for the analys"),
    ],
)
def test_settings_are_checked_before_anything_is_run(tmp_path, settings, message):
    with pytest.raises(UsageError, match=message):
        sk.batch("tiny-mamba", out=tmp_path / "z", **settings)
    assert not (tmp_path / "z").exists()
