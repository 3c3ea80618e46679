"""The memory analysis in the terminal."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from spectrakit import analyze
from spectrakit.report.terminal import run_report
from spectrakit.token_options import TokenOptions


def shown(run):
    out = io.StringIO()
    Console(file=out, width=100).print(run_report(run))
    return out.getvalue()


def test_a_line_per_layer_says_how_far_back_it_remembers():
    run = analyze("tiny-mamba", analyses="memory")
    lines = shown(run).splitlines()
    summaries = [
        row
        for row in run.table("memory_summary").to_pylist()
        if row["channel"] is None and row["precision"] in ("exact", "bfloat16")
    ]
    for layer in range(3):
        exact, rounded = (row for row in summaries if row["layer"] == layer)
        words = lines[layer + 1].split()
        assert words[:3] == [str(layer), "mamba", "16"]
        assert words[3] == str(exact["delay_50"])
        assert float(words[-1]) == pytest.approx(rounded["capacity"], rel=1e-3)
    assert "bfloat16" in lines[0]


def test_attention_is_told_by_its_keys():
    source = TokenOptions(seq_len=16, max_tokens=16)
    text = shown(analyze("tiny-llama", analyses="memory", mode="data", source=source))
    assert "of 12 keys" in text  # the mean of 8 and 16
