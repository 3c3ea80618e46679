"""Numbers of both runs that are two quantities: shown with the reason, and not subtracted."""

from __future__ import annotations

import pytest

import spectrakit as sk
from spectrakit.analyses.memory.tables import MEMORY_SUMMARY
from spectrakit.analyses.probe.tables import PROBE
from spectrakit.analyses.propagation.tables import PROPAGATION
from spectrakit.comparison import compare_runs
from spectrakit.comparison.run_settings import other_settings
from spectrakit.tables import LAYERS, Manifest, MemorySink
from spectrakit.tables.comparison_schemas import REASONS, UNLIKE
from spectrakit.token_options import TokenOptions

LAYER = {"layer": 0, "path": "0", "kind": "mamba", "status": "analysed", "bytes_read": 0}


def run_of(table, columns, **manifest):
    """A run of one layer with one row of `table`."""
    sink = MemorySink(Manifest(model_id="model", revision="a", **({"mode": "data"} | manifest)))
    sink.append(LAYERS, LAYERS.table(LAYER, rows=1))
    sink.append(table, table.table(columns, rows=1))
    return sink.run


def remembers(seq_len=None, **changed):
    columns = dict.fromkeys(column.name for column in MEMORY_SUMMARY.columns)
    columns |= {
        "layer": 0, "mode": "data", "past": "sequence", "precision": "exact", "systems": 1,
        "horizon": 64, "delay_50": 8,
    }  # fmt: skip
    return run_of(MEMORY_SUMMARY, columns | changed, spec={"source": {"seq_len": seq_len}})


def tells(items):
    columns = dict.fromkeys(column.name for column in PROBE.columns)
    columns |= {
        "prompt_set": "kv-retrieval", "target": "gold_position", "depth": 1, "accuracy": 0.5,
        "accuracy_low": 0.4, "accuracy_high": 0.6, "chance": 0.1, "items": items, "prompts": 100,
        "sources": 10, "features": 8,
    }  # fmt: skip
    return run_of(PROBE, columns)


def flows(metric, seq_len):
    columns = {
        "depth": 0, "of": "stream", "metric": metric, "token_set": "all", "coordinates": "all",
        "position_low": None,
        "position_high": None, "value": 2.0, "standard_error": 0.1, "tokens": 512, "sequences": 4,
        "seq_len": seq_len, "reason": None,
    }  # fmt: skip
    return run_of(PROPAGATION, columns)


def difference(*runs):
    """The only one there is, and its reason."""
    sink = MemorySink(runs[0].manifest)
    compare_runs(runs, sink)
    (row,) = sink.run.table("summary_difference").to_pylist()
    assert row["value"] is not None
    assert row["other_value"] is not None
    return row["difference"], row["reason"]


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"mode": "nominal", "past": "infinite"}, "other-mode"),
        ({"past": "horizon"}, "other-past"),
        ({"seq_len": 128}, "other-seq-len"),
        ({"horizon": 32}, "other-horizon"),
    ],
)
def test_memory_of_something_else_is_not_subtracted(changed, reason):
    # seq_len is an option of the run, the others are columns.
    first = remembers(seq_len=64)
    other = remembers(**{"seq_len": 64, "delay_50": 12} | changed)
    assert difference(first, other) == (None, reason)
    assert difference(other, first) == (None, reason)


def test_memory_of_an_infinite_past_does_not_end_with_sequences_or_horizon():
    one, other = (
        remembers(mode="static", past="infinite", seq_len=length, horizon=length, delay_50=delay)
        for length, delay in ((64, 8), (128, 12))
    )
    assert difference(one, other) == (4, "no-bound")


def test_memory_of_the_same_is_subtracted():
    runs = remembers(seq_len=64), remembers(seq_len=64, delay_50=12)
    assert difference(*runs) == (4, "no-bound")


def test_accuracies_with_another_number_of_items_are_not_subtracted():
    assert difference(tells(10), tells(20)) == (None, "other-items")
    assert difference(tells(10), tells(10)) == (0, None)


def test_ranks_of_sequences_of_another_length_are_not_subtracted():
    ranks = [flows("effective_rank", length) for length in (128, 256)]
    assert difference(*ranks) == (None, "other-seq-len")
    assert difference(ranks[0], ranks[0]) == (0, None)
    assert difference(*(flows("norm", length) for length in (128, 256))) == (0, None)


def test_every_reason_has_its_meaning():
    assert set(UNLIKE) < set(REASONS)


def set_to(mode="data", source=None, **spec):
    spec |= {"source": source or {}}
    manifest = Manifest(model_id="model", revision="a", mode=mode, spec=spec)
    return MemorySink(manifest).run


def test_settings_that_differ_are_named():
    first = set_to(config={}, randomize=None, source={"seq_len": 64, "batch_size": 4})
    other = set_to(config={"d_state": 4}, randomize="all", source={"seq_len": 128, "batch_size": 8})
    assert other_settings(first, other) == (
        "config none and d_state=4; randomize none and all; seq_len 64 and 128"
    )
    assert other_settings(first, first) == ""
    assert other_settings(first, set_to(mode="weights")) == "mode data and weights"


def test_the_terminal_says_what_was_set_otherwise_and_what_is_not_subtracted(command, tmp_path):
    analyses = ("memory", "perturbation", "empirical_memory")
    for length in (64, 128):
        source = TokenOptions(max_tokens=2048, seq_len=length)
        sk.analyze(
            "tiny-mamba", analyses=analyses, mode="data", source=source, out=tmp_path / str(length)
        )
    done = command("compare", "64", "128", "--out", "both", "--no-figures")
    assert done.code == 0, done.err
    said = " ".join(done.out.split())
    assert "set otherwise: seq-len 64 and 128" in said
    assert "not subtracted (other-seq-len)" in said
    rows = sk.read_run(tmp_path / "both").table("summary_difference").to_pylist()
    for table in ("perturbation", "empirical_memory"):
        found = [row for row in rows if row["of_table"] == table and row["difference"] is not None]
        assert f"the largest of {len(found)} differences of {table} in" in said
        largest = max(found, key=lambda row: abs(row["difference"]))
        assert f"{largest['metric']} {100 * largest['depth']:.0f}% depth" in said
    assert {row["difference"] for row in rows if row["metric"] == "delay_50 exact"} == {None}
    done = command("compare", "64", "128", "--out", "both", "--no-figures", "--json")
    assert "note: 128 is set otherwise: seq-len 64 and 128" in done.err
