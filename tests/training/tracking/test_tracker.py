"""The tracker: its numbers are those of `analyze`, in any loop, and it leaves no trace."""

from __future__ import annotations

import types

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    Trainer,
    TrainingArguments,
)

import spectrakit as sk
from spectrakit.analyses.memory.options import MemoryOptions
from spectrakit.analyses.memory.tables import MEMORY_SUMMARY
from spectrakit.dynamics.eigenvalues import DiscreteEigenvalues
from spectrakit.errors import UsageError
from spectrakit.tables.schemas import SPECTRUM_SUMMARY
from spectrakit.training.tracking.callbacks import SpectralCallback, lightning_callback
from spectrakit.training.tracking.timescales import EDGES, histogram
from tests.training.models.test_layers import built


def mamba(seed=0):
    torch.manual_seed(seed)
    config = MambaConfig(vocab_size=16, hidden_size=8, num_hidden_layers=2, state_size=3, expand=2)
    return MambaForCausalLM(config)


def stepped(model, watch=None, steps=4):
    """A loop of anybody's."""
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        ids = torch.randint(11, (2, 9), generator=generator)
        optimiser.zero_grad()
        loss = model(ids, labels=ids).loss
        loss.backward()
        optimiser.step()
        if watch is not None:
            watch.step(loss.detach())
    return [p.detach().clone() for p in model.parameters()]


MODELS = {"transformers": mamba, **{n: lambda n=n: built(n, torch.float32)
                                    for n in ("s4d", "lru", "mamba2", "dense", "s4")}}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_a_snapshot_has_the_columns_of_analyze(name):
    model = MODELS[name]()
    watch = sk.watch(model, every=1)
    watch.tracker.snapshot(3, gradients=False)
    found = watch.table("training_spectrum").to_pylist()
    run = sk.analyze(sk.from_model(model), analyses=["spectrum"], domain="discrete")
    wanted = run.table("spectrum_summary").to_pylist()
    assert len(found) == len(wanted)
    for row, other in zip(found, wanted, strict=True):
        assert row["step"] == 3
        for column in SPECTRUM_SUMMARY.columns:
            one, two = row[column.name], other[column.name]
            assert one == two or one == pytest.approx(two, rel=1e-12), column.name


@pytest.mark.parametrize("name", MODELS)
def test_what_layers_remember_is_that_of_analyze(name):
    model = MODELS[name]()
    watch = sk.watch(model, every=9, memory_every=1)
    watch.tracker.remember(3)
    found = watch.table("training_memory").to_pylist()
    options = MemoryOptions(per_octave=4, precisions=())
    run = sk.analyze(sk.from_model(model), analyses=["memory"], options=[options])
    wanted = run.table("memory_summary").to_pylist()
    wanted = [row for row in wanted if row["channel"] is None]
    names = [column.name for column in MEMORY_SUMMARY.columns]
    assert [[row[n] for n in names] for row in found] == [[row[n] for n in names] for row in wanted]
    assert {row["step"] for row in found} == {3}
    told = [row["delay_50"] is not None or row["reason"] is not None for row in found]
    assert all(told)


def test_a_watch_looks_at_memory_when_it_is_asked():
    watch = sk.watch(mamba(), every=1, memory_every=2)
    stepped(mamba(), watch, steps=4)
    watch.close()
    assert sorted({row["step"] for row in watch.table("training_memory").to_pylist()}) == [0, 2, 4]
    with pytest.raises(UsageError, match="memory_every = 0"):
        sk.watch(mamba(), memory_every=0)


def test_the_histogram_counts_every_eigenvalue_in_its_bin():
    rates = torch.tensor([[2.0, 0.5, 1e-3, 0.0, -0.1, 1e9]], dtype=torch.float64)
    columns = histogram(DiscreteEigenvalues(-rates, multiplicity=3), None)
    assert columns["count"].sum() == 18
    for low, high, count in zip(
        columns["timescale_low"], columns["timescale_high"], columns["count"], strict=True
    ):
        scales = [np.inf if rate <= 0 else 1 / float(rate) for rate in rates[0]]
        inside = [low <= s < high or (np.isinf(s) and np.isinf(high)) for s in scales]
        assert count == 3 * sum(inside)
    assert np.all(np.diff(EDGES) > 0)


@pytest.mark.parametrize("name", MODELS)
def test_training_with_a_watch_is_training_without_one(name):
    alone = stepped(MODELS[name]())
    model = MODELS[name]()
    with sk.watch(model, every=2) as watch:
        watched = stepped(model, watch)
    assert all(torch.equal(one, other) for one, other in zip(alone, watched, strict=True))
    rows = watch.table("training_spectrum").to_pylist()
    assert sorted({row["step"] for row in rows}) == [0, 2, 4]
    if name in ("transformers", "s4d", "lru"):
        assert all(row["gradient_norm"] is not None for row in rows if row["step"] < 4)
    assert all(row["gradient_reason"] for row in rows if row["gradient_norm"] is None)
    assert watch.table("training").num_rows == 4
    assert len(watch.chart().to_dict()["vconcat"]) >= 2


def test_tables_are_on_the_disk_and_readable_while_it_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr("spectrakit.training.tracking.watching._PERIOD", 0.0)
    model = mamba()
    watch = sk.watch(model, every=1, out=tmp_path / "watched", name="mine")
    stepped(model, watch, steps=2)
    half = sk.read_training(tmp_path / "watched")
    assert half.table("training").num_rows == 2
    assert half.table("training_spectrum")["model_id"].to_pylist()[0] == "mine"
    stepped(model, watch, steps=1)
    watch.close()
    table = pq.read_table(tmp_path / "watched" / "training_timescales.parquet")
    assert set(table["step"].to_pylist()) == {0, 1, 2}
    with pytest.raises(UsageError, match="no table 'spectra'"):
        watch.table("spectra")


def test_attention_needs_a_probe_and_has_its_spectrum_on_it():
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(
        vocab_size=16, hidden_size=8, intermediate_size=8, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=2,
    ))  # fmt: skip
    with pytest.raises(UsageError, match="alone have no spectrum") as error:
        sk.watch(model)
    assert "probe" in error.value.hint
    probe = torch.randint(16, (2, 12))
    before = [p.detach().clone() for p in model.parameters()]
    watch = sk.watch(model, every=1, probe=probe)
    model.train()
    watch.step()
    rows = watch.table("training_spectrum").to_pylist()
    assert {row["gauge"] for row in rows} == {"dsf", "retained"}
    assert model.training
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    probe_path = watch.tracker.probe.numpy()
    run = sk.analyze(sk.from_model(model), mode="data", analyses=["spectrum"],
                     tokens=saved(probe_path))  # fmt: skip
    wanted = {(r["head"], r["gauge"]): r["timescale_q50"]
              for r in run.table("spectrum_summary").to_pylist()}  # fmt: skip
    found = {(r["head"], r["gauge"]): r["timescale_q50"] for r in rows}
    assert found == pytest.approx(wanted)


def saved(ids):
    import tempfile
    from pathlib import Path

    path = Path(tempfile.mkdtemp()) / "tokens.npy"
    np.save(path, ids)
    return path


def test_numbers_are_logged_where_somebody_listens():
    told = []
    model = built("s4d", torch.float32)
    watch = sk.watch(model, every=1, log=lambda numbers, step: told.append((step, numbers)))
    watch.step(1.0)
    ((step, numbers),) = told
    assert step == 0
    assert 0 < numbers["spectrum/layer0/spectral_radius"] < 1


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_the_callback_of_transformers_sees_gradients(tmp_path):
    model = mamba()
    data = [{"input_ids": torch.randint(16, (8,)), "labels": torch.randint(16, (8,))}
            for _ in range(8)]  # fmt: skip
    callback = SpectralCallback(every=2, out=tmp_path / "spectra")
    arguments = TrainingArguments(
        output_dir=str(tmp_path / "out"), max_steps=4, per_device_train_batch_size=2,
        use_cpu=True, report_to=[], logging_steps=1, save_strategy="no", disable_tqdm=True,
    )  # fmt: skip
    Trainer(model=model, args=arguments, train_dataset=data, callbacks=[callback]).train()
    read = sk.read_training(tmp_path / "spectra")
    rows = read.table("training_spectrum").to_pylist()
    assert sorted({row["step"] for row in rows}) == [0, 2, 4]
    assert all(row["gradient_norm"] > 0 for row in rows if row["step"] < 4)
    assert read.table("training").num_rows == 4


def test_the_callback_of_lightning_does_what_its_trainer_asks(tmp_path, monkeypatch):
    fake = types.ModuleType("lightning.pytorch")
    fake.Callback = object
    monkeypatch.setitem(__import__("sys").modules, "lightning", types.ModuleType("lightning"))
    monkeypatch.setitem(__import__("sys").modules, "lightning.pytorch", fake)
    callback = lightning_callback(every=1, out=tmp_path / "spectra")
    trainer = types.SimpleNamespace(is_global_zero=True, global_step=5)
    module = types.SimpleNamespace(model=mamba())
    callback.on_fit_start(trainer, module)
    callback.on_before_optimizer_step(trainer, module, None)
    callback.on_fit_end(trainer, module)
    assert sk.read_training(tmp_path / "spectra").table("training_spectrum")["step"][0].as_py() == 5


def test_without_lightning_the_callback_says_what_to_install(monkeypatch):
    for name in ("lightning.pytorch", "pytorch_lightning"):
        monkeypatch.setitem(__import__("sys").modules, name, None)
    with pytest.raises(UsageError, match="Lightning is not installed"):
        lightning_callback()


# torch.compile (2.13) makes an instance of every autograd function it traces.
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
def test_a_model_in_torch_compile_is_watched():
    model = built("s4d", torch.float32)
    compiled = torch.compile(model, backend="eager")
    watch = sk.watch(compiled, every=1)
    stepped(compiled, watch, steps=2)
    rows = watch.table("training_spectrum").to_pylist()
    assert all(row["gradient_norm"] is not None for row in rows)


def test_a_folder_without_tables_is_none_of_a_training_run(tmp_path):
    with pytest.raises(UsageError, match="is not the folder of a training run"):
        sk.read_training(tmp_path)
    with pytest.raises(UsageError, match="every = 0"):
        sk.watch(mamba(), every=0)
