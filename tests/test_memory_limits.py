"""A model that does not fit is refused before it is read."""

from __future__ import annotations

import pytest

import spectrakit as sk
from spectrakit import memory_limits
from spectrakit.errors import UsageError
from spectrakit.token_options import TokenOptions


def test_what_loading_takes(tiny_mamba_folder):
    with sk.open_checkpoint(str(tiny_mamba_folder)) as model:
        elements = sum(entry.elements for entry in model.checkpoint.tensors.values())
        assert memory_limits.needed_bytes(model.checkpoint, "float32") == 4 * elements
        # In another type the stored weights are there too while they are converted.
        assert memory_limits.needed_bytes(model.checkpoint, "bfloat16") == 6 * elements


@pytest.mark.parametrize(
    ("free", "hint"), [(1.4, "mode='weights'"), (1.6, "dtype='bfloat16' takes")]
)
def test_too_large_a_model_is_refused_with_the_numbers(free, hint, tiny_mamba_folder, monkeypatch):
    with sk.open_checkpoint(str(tiny_mamba_folder)) as model:
        elements = sum(entry.elements for entry in model.checkpoint.tensors.values())
        monkeypatch.setattr(memory_limits, "available_bytes", lambda _: int(free * 4 * elements))
        monkeypatch.setattr(memory_limits, "needed_bytes", halved)
        with pytest.raises(UsageError, match=r"takes \d+\.\d GB .* cpu has \d+\.\d GB") as caught:
            model.load("cpu")
    assert hint in caught.value.hint


def halved(checkpoint, dtype):
    """As if the weights were stored in half precision."""
    elements = sum(entry.elements for entry in checkpoint.tensors.values())
    return {"float32": 8, "bfloat16": 6}[dtype] * elements


def test_nothing_is_downloaded_for_a_model_that_does_not_fit(tiny_mamba_folder, monkeypatch):
    with sk.open_checkpoint(str(tiny_mamba_folder)) as model:
        monkeypatch.setattr(memory_limits, "available_bytes", lambda _: 1000)
        monkeypatch.setattr(type(model.checkpoint), "localize", pytest.fail)
        with pytest.raises(UsageError, match="takes"):
            sk.analyze(model, mode="data")


@pytest.mark.parametrize(("batch", "fits"), [(2, True), (4, False)])
def test_hidden_states_that_do_not_fit_are_refused_with_the_numbers(batch, fits, monkeypatch):
    source = TokenOptions(max_tokens=64 * batch, seq_len=64, batch_size=batch)
    one_depth = 64 * 96 * 4
    with sk.open_checkpoint("tiny-mamba") as model:
        monkeypatch.setattr("spectrakit.model.check_memory", lambda *_: None)
        monkeypatch.setattr(memory_limits, "available_bytes", lambda _: 3 * 4 * one_depth)
        if fits:
            run = sk.analyze(model, analyses="similarity", source=source)
            assert run.table("similarity").num_rows == 3 * 20  # three views of 4 depths
            return
        with pytest.raises(UsageError, match=r"at 4 depths take 0\.0 GB .* cpu has") as caught:
            sk.analyze(model, analyses="similarity", source=source)
        assert "batch_size" in caught.value.hint


def test_this_machine_is_known():
    available = memory_limits.available_bytes("cpu")
    assert available is None or 1 << 24 < available < 1 << 50


def test_a_control_group_limits_it(tmp_path, monkeypatch):
    (tmp_path / "memory.max").write_text("1000000\n")
    (tmp_path / "memory.current").write_text("700000\n")
    (tmp_path / "memory.stat").write_text("anon 300000\ninactive_file 400000\nactive_file 5\n")
    monkeypatch.setattr(memory_limits, "_CONTROL_GROUP", tmp_path)
    assert memory_limits.available_bytes("cpu") == 700_000
