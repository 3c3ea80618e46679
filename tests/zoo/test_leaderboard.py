"""The boards: places, ties, what is compared with what, and who has no place."""

from __future__ import annotations

import math
from collections import defaultdict

import numpy as np
import pytest
from scipy.stats import wasserstein_distance

from spectrakit.tables import read_run
from spectrakit.zoo.leaderboard import leaderboard
from spectrakit.zoo.results import Results
from spectrakit.zoo.schemas import BOARDS, LEADERBOARD
from tests.report.synthetic import SyntheticRun
from tests.zoo.zoos import TEXT, Counting, data_run, log_uniform, weights_run, write_run


def boards(zoo):
    """Rows by board."""
    found = defaultdict(list)
    for row in leaderboard(Results(zoo)).to_pylist():
        found[row["board"]].append(row)
    return found


def places(rows):
    """Rank, run and value of those that have a rank."""
    return [(row["rank"], row["run"]) for row in rows if row["rank"] is not None]


def test_the_longest_memory_comes_first_and_equals_share_a_rank(tmp_path):
    weights_run(tmp_path, "short", [0.5])
    weights_run(tmp_path, "long", [0.01])
    weights_run(tmp_path, "c-forever", [0.0, -0.1])
    weights_run(tmp_path, "b-forever", [0.0])
    weights_run(tmp_path, "as-long", [0.01])
    rows = boards(tmp_path)["longest memory"]
    assert places(rows) == [
        (1, "b-forever"), (1, "c-forever"), (3, "as-long"), (3, "long"), (5, "short"),
    ]  # fmt: skip
    assert rows[0]["value"] == math.inf
    assert rows[0]["uncertainty"] is None
    assert rows[2]["value"] == pytest.approx(100, abs=rows[2]["uncertainty"])
    assert {row["unit"] for row in rows} == {"step"}


def test_pairs_and_the_oddest_are_those_of_all_eigenvalues(tmp_path):
    """Every distance again from the eigenvalues, by SciPy."""
    rates = {f"m{i}": log_uniform(i, 10 ** -(1 + i * 0.37), 10 ** (i % 3)) for i in range(9)}
    for name, own in rates.items():
        weights_run(tmp_path, name, own)
    apart = {
        (a, b): wasserstein_distance(np.log10(rates[a]), np.log10(rates[b]))
        for a in rates
        for b in rates
        if a != b
    }
    found = boards(tmp_path)
    pairs = found["closest pairs"]
    assert len(pairs) == 36
    for row in pairs:
        expected = apart[row["run"], row["other_run"]]
        assert row["value"] == pytest.approx(expected, abs=row["uncertainty"])
    values = [row["value"] for row in pairs]
    assert values == sorted(values)
    nearest = {a: min(d for (one, _), d in apart.items() if one == a) for a in rates}
    for row in found["oddest"]:
        assert row["value"] == pytest.approx(nearest[row["run"]], abs=row["uncertainty"])
        assert apart[row["run"], row["other_run"]] == pytest.approx(
            nearest[row["run"]], abs=2 * row["uncertainty"]
        )
    odd = [row["value"] for row in found["oddest"]]
    assert odd == sorted(odd, reverse=True)


def test_runs_of_the_same_weights_are_no_pair_whatever_they_are_called(tmp_path):
    weights_run(tmp_path, "one", [0.1], model_id="checkpoint-1000", revision="local-1")
    weights_run(tmp_path, "two", [0.11], model_id="final", revision="local-1")
    weights_run(tmp_path, "other", [0.5])
    found = boards(tmp_path)
    (pair,) = found["closest pairs"]
    assert (pair["run"], pair["other_run"]) == ("other", "two")
    assert {row["run"]: row["other_model_id"] for row in found["oddest"]} == {
        "one": "other", "two": "other", "other": "final",
    }  # fmt: skip


def test_checkpoints_of_one_name_are_models_of_their_own(tmp_path):
    for seed in range(3):
        weights_run(tmp_path, f"s{seed}--final", [0.1 + 0.1 * seed], model_id="final")
    found = boards(tmp_path)
    assert len(found["closest pairs"]) == 3
    assert len(found["oddest"]) == 3


def test_only_like_is_compared_with_like(tmp_path):
    weights_run(tmp_path, "nominal", [0.1])
    weights_run(tmp_path, "static", [0.1], mode="static")
    data_run(tmp_path, "data", [0.1])
    data_run(tmp_path, "retained", [0.1], gauge="retained")
    long = TEXT | {"spec": {"source": {"text": None, "seq_len": 1024}}}
    data_run(tmp_path, "longer", [0.1], manifest=long)
    text = TEXT | {
        "spec": {"source": {"text": "my.txt", "seq_len": 512}},
        "contents": {"text": "a"},
    }
    data_run(tmp_path, "other-text", [0.1], manifest=text)
    found = boards(tmp_path)
    assert {rank for rank, _ in places(found["longest memory"])} == {1}
    assert len(places(found["longest memory"])) == 6
    assert "closest pairs" not in found
    assert {row["rank"] for row in found["oddest"]} == {None}
    assert all("no other model" in row["note"] for row in found["oddest"])


def test_attention_is_never_compared_in_gauge_dsf(tmp_path):
    for name in ("gpt", "llama"):
        made = SyntheticRun(name, mode="data")
        made.layer([0.1], mode="data", gauge="dsf", exact=False)
        made.layer([0.2], mode="data", gauge="retained", exact=False, new_layer=False)
        write_run(tmp_path, name, made)
    assert {row["gauge"] for rows in boards(tmp_path).values() for row in rows
            if row["rank"] is not None} == {"retained"}  # fmt: skip


def test_the_most_selective_varies_most(analysed):
    rows = [row for row in boards(analysed)["most selective"] if row["rank"] is not None]
    assert {(row["model_id"], row["gauge"], row["rank"]) for row in rows} == {
        ("tiny-mamba2", "unnormalised", 1), ("tiny-llama", "retained", 1),
    }  # fmt: skip
    for row in rows:
        run = read_run(analysed / "runs" / row["run"])
        own = [r["token_spread"] for r in run.table("spectrum_summary").to_pylist()
               if r["head"] is None and r["gauge"] == row["gauge"]]  # fmt: skip
        assert row["value"] == pytest.approx(np.mean(own), rel=1e-12)


def test_who_is_not_selective_hears_why(tmp_path):
    weights_run(tmp_path, "nominal", [0.1])
    weights_run(tmp_path, "static", [0.1], mode="static")
    data_run(tmp_path, "old", [0.1])  # of a version without such a column: null
    rows = boards(tmp_path)["most selective"]
    assert {row["run"]: row["note"] for row in rows} == {
        "nominal": "weights alone do not tell how decay rates vary: that needs mode data",
        "static": "its decay rates are the same at every token",
        "old": "its tables do not tell how decay rates vary over tokens",
    }
    assert {row["rank"] for row in rows} == {None}


def test_a_run_without_a_spectrum_is_listed_with_the_reason(tmp_path):
    weights_run(tmp_path, "m", [0.1])
    write_run(tmp_path, "none", SyntheticRun("attention").absent())
    found = boards(tmp_path)
    for board in ("longest memory", "most selective", "oddest"):
        (row,) = [row for row in found[board] if row["run"] == "none"]
        assert row["rank"] is None
        assert row["value"] is None
        assert "no table spectrum_histogram" in row["note"]


def test_a_table_that_cannot_be_read_is_a_reason_and_not_the_end(tmp_path):
    weights_run(tmp_path, "a", [0.1])
    weights_run(tmp_path, "b", [0.1])
    path = tmp_path / "runs" / "b" / "spectrum_histogram.parquet"
    content = path.read_bytes()
    path.write_bytes(content[:4] + bytes(len(content) - 12) + content[-8:])
    rows = boards(tmp_path)["longest memory"]
    assert places(rows) == [(1, "a")]
    assert "spectrum_histogram.parquet cannot be read" in rows[-1]["note"]


def test_a_hybrid_says_which_part_of_it_is_meant(tmp_path):
    made = SyntheticRun("hybrid").layer([0.1]).absent().layer([0.01])
    write_run(tmp_path, "hybrid", made)
    (row,) = boards(tmp_path)["longest memory"]
    assert row["note"] == "median 10; longest in layer 2: 100; 2 of 3 layers"
    assert row["layers"] == 2


def test_one_run_and_none(tmp_path):
    assert leaderboard(Results(tmp_path)).num_rows == 0
    weights_run(tmp_path, "m", [0.1, 0.2])
    found = boards(tmp_path)
    assert places(found["longest memory"]) == [(1, "m")]
    assert [row["note"] for row in found["oddest"]] == [
        "no other model of its mode and gauge to compare it with"
    ]
    assert "closest pairs" not in found


def test_rows_are_in_order_of_board_group_and_rank(tmp_path):
    for i in range(3):
        weights_run(tmp_path, f"m{i}", [0.1 + i])
    weights_run(tmp_path, "s", [0.1], mode="static")
    rows = leaderboard(Results(tmp_path)).to_pylist()
    order = [(list(BOARDS).index(r["board"]), r["rank"] is None, r["mode"] == "static",
              r["rank"] or 0, r["run"]) for r in rows]  # fmt: skip
    assert order == sorted(order)
    assert list(rows[0]) == [column.name for column in LEADERBOARD.all_columns]


def test_the_same_whatever_the_order_on_the_disk(tmp_path):
    def zoo(folder, names):
        for name in names:
            weights_run(folder, name, log_uniform(int(name[1:]), 1e-3 * int(name[1:]) + 1e-4))
        return leaderboard(Results(folder))

    names = [f"m{i}" for i in range(12)]
    assert zoo(tmp_path / "a", names).equals(zoo(tmp_path / "b", reversed(names)))


def test_progress_counts_runs(analysed):
    progress = Counting()
    leaderboard(Results(analysed), progress)
    assert progress.done == len(list(Results(analysed).runs()))
