"""Names from files in the terminal, in documents and in paths: text, whatever they hold."""

from __future__ import annotations

import json
import shutil
import sys

import pytest
import torch
from rich.table import Table
from rich.text import Text
from safetensors.torch import load_file, save_file

from spectrakit.cli.console import print_data, tell
from spectrakit.plugins import plugins
from spectrakit.registry import PluginInfo
from spectrakit.tables import read_run

EVIL = "[/x] [bold]:smile: \x1b]0;T\x07\x1b[31m\u202e"
SHOWN = r"[/x] [bold]:smile: \x1b]0;T\x07\x1b[31m\u202e"


@pytest.mark.parametrize("wrap", [str, Text, lambda text: table(text)])
def test_what_is_printed_is_the_text_itself(wrap, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    print_data(wrap(EVIL))
    out = capsys.readouterr().out
    # rich takes the bell out of a Text before anybody can see it
    assert SHOWN in out or (wrap is Text and SHOWN.replace(r"\x07", "") in out)
    assert "\x1b" not in out


def table(text):
    found = Table(text, box=None)
    found.add_row(text)
    return found


def test_what_is_told_is_too(capsys):
    tell(f"one\ntwo {EVIL}")
    assert capsys.readouterr().err == f"one\ntwo {SHOWN}\n"


def test_a_plugins_error_is_text(command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")
    info = PluginInfo("evil[x]", "evilplug", "1.0", error=f"ImportError: pip install a[b] {EVIL}")
    found = plugins().register()
    monkeypatch.setattr(found, "plugins", [*found.plugins, info])
    done = command("plugins", "list")
    assert done.code == 0
    assert f"pip install a[b] {SHOWN}" in done.out
    assert "evil[x]" in done.out
    listed = json.loads(command("plugins", "list", "--json").out)["plugins"]
    assert listed[-1]["error"].endswith(EVIL)


@pytest.mark.parametrize("name", ["model[v2]", "m\x1b[31m", "m\u202e", "m\n2", "a\\b"])
def test_a_folder_of_any_name(command, tmp_path, name, tiny_mamba_folder):
    shutil.copytree(tiny_mamba_folder, tmp_path / name)
    done = command("inspect", f"./{name}")
    assert done.code == 0
    shown = name.encode("unicode_escape").decode() if not name.isprintable() else name
    assert done.out.startswith(f"{shown}  local-")
    ran = command("analyze", f"./{name}")
    assert ran.code == 0
    (folder,) = (tmp_path / "spectrakit-runs").iterdir()
    assert folder.name.isprintable()
    assert not set(folder.name) & set("\\/")
    (run,) = folder.glob("*/*")
    assert read_run(run).manifest.model_id == shown


def test_a_tensors_name_in_an_error(command, tmp_path, tiny_mamba_folder):
    shutil.copytree(tiny_mamba_folder, tmp_path / "m")
    tensors = load_file(tmp_path / "m" / "model.safetensors")
    tensors[EVIL] = torch.full((2,), float("nan"))
    save_file(tensors, tmp_path / "m" / "model.safetensors", metadata={"format": "pt"})
    done = command("inspect", "m", "--check-values")
    assert done.code == 4
    assert f"1 tensors hold NaN or Inf: {SHOWN} (2 NaN, 0 Inf)" in done.err


@pytest.mark.skipif(sys.platform != "linux", reason="names that are no text are of Linux")
def test_names_that_are_not_utf8(command, tmp_path, tiny_mamba_folder):
    model, out, text, both = (f"{name}\udcff" for name in ("m", "o", "t.txt", "c"))
    shutil.copytree(tiny_mamba_folder, tmp_path / model)
    (tmp_path / text).write_text("to be or not to be")
    data = command("analyze", model, "--text", text, "--tokenizer", model, "--out", out)
    assert data.code == 0
    assert r"wrote o\udcff" in data.err
    assert command("analyze", model).code == 0
    (other,) = (tmp_path / "spectrakit-runs" / r"m_udcff").glob("*/*")
    assert command("compare", out, other, "--out", both).code == 0
    assert read_run(tmp_path / out).table("layers").num_rows == 3
    assert command("extract", model, "--layers", "0").code == 0
    assert (tmp_path / "m_udcff.weights.safetensors").exists()


@pytest.mark.parametrize(
    "name", ["...safetensors", "..safetensors", ".safetensors", " .safetensors"]
)
def test_a_file_whose_name_is_dots_does_not_lead_out(command, tmp_path, name, tiny_mamba_folder):
    (tmp_path / "inner").mkdir()
    shutil.copy(tiny_mamba_folder / "model.safetensors", tmp_path / "inner" / name)
    shutil.copy(tiny_mamba_folder / "config.json", tmp_path / "inner")
    before = set(tmp_path.iterdir())
    done = command("analyze", f"inner/{name}", "--no-figures")
    assert done.code == 0
    assert set(tmp_path.iterdir()) - before == {tmp_path / "spectrakit-runs"}
    assert [folder.name for folder in (tmp_path / "spectrakit-runs").iterdir()] == ["inner"]


@pytest.mark.parametrize("where", ["config.json", "pytorch_model.bin"])
def test_text_that_no_file_can_be_written_with(command, tmp_path, where, tiny_mamba_folder):
    shutil.copytree(tiny_mamba_folder, tmp_path / "m")
    if where == "config.json":
        (tmp_path / "m" / where).write_text('{"model_type": "mamba", "x": "\\ud800"}')
    else:
        tensors = load_file(tmp_path / "m" / "model.safetensors")
        (tmp_path / "m" / "model.safetensors").unlink()
        torch.save(tensors | {"a\ud800": torch.ones(1)}, tmp_path / "m" / where)
    done = command("inspect", "m")
    assert done.code == 4
    assert done.err.startswith("error: ")
