"""Runs in Python show themselves, draw their charts, and are compared."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch

import spectrakit as sk
from spectrakit.errors import UsageError
from spectrakit.tables import Manifest, MemorySink
from spectrakit.tables.schemas import LAYERS


@pytest.fixture(scope="module")
def run():
    return sk.analyze("tiny-mamba", analyses=["spectrum", "memory"])


class Text(HTMLParser):
    def __init__(self):
        super().__init__()
        self.text, self.tags = "", []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)

    def handle_data(self, data):
        self.text += data


def shown(result):
    parser = Text()
    parser.feed(result._repr_html_())
    return parser


def test_a_run_shows_what_the_terminal_does(run):
    text = shown(run).text
    assert "tiny-mamba" in text
    assert "nominal: an input-dependent A at its bias" in text
    assert "what a layer's state remembers" in text


def test_what_comes_from_outside_is_text():
    name = "<img src=x onerror=alert(1)>\x1b[31m"
    manifest = Manifest(model_id=name, revision="<b>", mode="data", warnings=["<script>"])
    sink = MemorySink(manifest)
    row = {"layer": 0, "path": "<i>", "kind": "<u>", "status": "failed", "reason": "<script>",
           "bytes_read": 0}  # fmt: skip
    sink.append(LAYERS, LAYERS.table(row, rows=1))
    found = shown(sk.Run.of(sink.run))
    assert set(found.tags) <= {"div", "b", "br", "pre", "span"}
    assert "<script>" in found.text
    assert "\x1b" not in found.text


def test_charts_by_name(run):
    assert run.charts == ("spectrum", "memory")
    assert run.chart("memory").to_dict()["$schema"].startswith("https://vega.github.io")
    assert run.chart().to_dict() == run.chart("spectrum").to_dict()
    with pytest.raises(UsageError, match="no chart 'memry'") as caught:
        run.chart("memry")
    assert caught.value.hint == "did you mean memory?"
    with pytest.raises(UsageError) as caught:
        run.chart("zzz")
    assert caught.value.hint == "its charts are spectrum, memory"


def test_a_run_of_a_folder_is_the_same(run, tmp_path):
    sk.analyze("tiny-mamba", analyses=["spectrum", "memory"], out=tmp_path / "run", figures=True)
    again = sk.read_run(tmp_path / "run")
    assert again.charts == run.charts
    assert shown(again).text == shown(run).text
    assert {path.name for path in (tmp_path / "run").glob("*.svg")} == {
        "spectrum.svg",
        "memory.svg",
    }


def test_runs_are_compared_in_memory(run):
    other = sk.analyze("tiny-mamba2")
    compared = sk.compare(run, other)
    assert compared.folder is None
    assert compared.charts == ("comparison",)
    assert "tiny-mamba2" in shown(compared).text
    assert compared.table("decay_distance").num_rows == 3
    assert compared.chart().to_dict()


def test_folders_are_compared_into_a_folder(run, tmp_path):
    for name in ("tiny-mamba", "tiny-mamba2"):
        sk.analyze(name, out=tmp_path / name)
    out = tmp_path / "compared"
    compared = sk.compare(tmp_path / "tiny-mamba", str(tmp_path / "tiny-mamba2"), out=out,
                          figures=True)  # fmt: skip
    assert compared.folder == out
    assert (out / "comparison.png").exists()
    with pytest.raises(UsageError, match="one run alone"):
        sk.compare(run)


def test_models_of_runs_are_compared(tmp_path):
    runs = [sk.analyze(name, mode="data", max_tokens=64, seq_len=64) for name in
            ("tiny-mamba", "tiny-mamba2")]  # fmt: skip
    source = sk.TokenOptions(max_tokens=128, seq_len=64)
    compared = sk.compare(*runs, similarity=source)
    assert "similarity" in compared.charts
    assert compared.manifest.spec["similarity"]["max_tokens"] == 128


def test_sets_of_eigenvalues_from_python():
    found = sk.preset_memory("s4d-lin", "legs", size=8, steps=[0.1])
    assert "s4d-lin, dt 0.1" in shown(found).text
    assert found.charts == ("memory",)
    assert found.chart().to_dict()
    with pytest.raises(UsageError, match="s4d-lina"):
        sk.preset_memory("s4d-lina")


def test_what_analyze_needs_is_at_the_top():
    assert set(dir(sk)) == set(sk.__all__)
    folder = Path(sk.__file__).parent
    for name in sk.__all__:
        assert getattr(sk, name) is not None
        # A module of this name would take the place of what it is, once it is imported.
        assert not (folder / f"{name}.py").exists()


def test_a_bare_module_is_told_apart_from_a_name():
    with pytest.raises(UsageError, match="a Linear is a module") as caught:
        sk.analyze(torch.nn.Linear(2, 2))
    assert caught.value.hint == "analyze(from_model(module), ...)"
