"""Which layers are analysed in which mode, and what is said of the others."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import ClassVar

import pytest

import spectrakit as sk
from spectrakit.architectures import Layer
from spectrakit.errors import UnsupportedError, UsageError
from spectrakit.mixers import Mamba
from spectrakit.model import Model
from spectrakit.planning import plan_layers, resolve, run_folder
from spectrakit.plugins import plugins
from spectrakit.provenance import contents_of
from spectrakit.registry import PluginInfo
from spectrakit.spec import RunSpec
from spectrakit.token_options import TokenOptions


@dataclass(frozen=True)
class Gated(Mamba):
    """A mixer whose weights alone say nothing of its spectrum."""

    name: ClassVar[str] = "gated"
    weights_mode = None


class Hybrid:
    """Claims the tiny Mamba and lists the layers it is told to."""

    name = "hybrid"

    def __init__(self, mixers):
        self.mixers = mixers

    def claims(self, checkpoint):
        return checkpoint.model_id == "tiny-mamba"

    def layers(self, checkpoint):
        from spectrakit.architectures.transformers_mamba import MAMBA_NAMES

        def mixer_layer(index, mixer):
            path = f"backbone.layers.{index}.mixer"
            names = {role: f"{path}.{name}" for role, name in MAMBA_NAMES.items()}
            return Layer(index, path, mixer.name, mixer, names)

        return tuple(
            Layer(index, f"layers.{index}", "attention", reason="not read")
            if mixer is None
            else mixer_layer(index, mixer)
            for index, mixer in enumerate(self.mixers)
        )

    def load(self, checkpoint, device):
        raise UnsupportedError("cannot run")


SIZES = {"model_width": 96, "channels": 192, "state_size": 16, "step_rank": 6}


@pytest.fixture
def hybrid(monkeypatch):
    """Open the tiny Mamba as a model of the given mixers, read by a plugin."""

    def opened(*mixers):
        registry = plugins().register().architectures
        origin = PluginInfo("hybrid", "dist-hybrid", "1")
        registry_things = {}
        monkeypatch.setattr(registry, "things", registry_things)
        registry.add("hybrid", Hybrid(mixers), origin)
        return sk.open_checkpoint("tiny-mamba")

    return opened


def test_auto_takes_weights_and_names_the_command_for_the_rest(hybrid):
    with hybrid(Mamba(**SIZES), Gated(**SIZES), None) as model:
        run = sk.analyze(model)
    rows = run.table("layers").to_pylist()
    assert [row["status"] for row in rows] == ["analysed", "needs-data", "unsupported"]
    assert rows[1]["reason"] == "A needs tokens: --mode data"
    assert rows[2]["reason"] == "not read"
    assert [row["bytes_read"] for row in rows] == [4 * 192 * 17, 0, 0]
    assert run.manifest.plugin == "dist-hybrid"
    assert {row["layer"] for row in run.table("spectrum").to_pylist()} == {0}


def test_auto_takes_data_where_weights_have_no_spectrum_at_all(hybrid):
    with hybrid(Gated(**SIZES), None) as model:
        plan = plan_layers(model, "auto")
        assert plan.source == "data"
        assert [layer.index for layer in plan.analysed] == [0]
        with pytest.raises(UnsupportedError, match="alone determine no spectrum") as caught:
            plan_layers(model, "weights")
        assert caught.value.hint == "mode='data'"
        with pytest.raises(UnsupportedError, match="A needs tokens"):
            model.recurrence(0)


@pytest.fixture
def still(hybrid, monkeypatch):
    """A model whose weights have a spectrum and that cannot be run."""
    with hybrid(Mamba(**SIZES), None) as model:
        layers = tuple(replace(layer, runs=layer.mixer is None) for layer in model.layers)
        monkeypatch.setattr(model, "layers", layers)
        yield model


def test_auto_takes_weights_where_nothing_runs(still):
    run = sk.analyze(still, analyses="all")
    assert run.manifest.mode == "weights"
    assert run.manifest.spec["analyses"] == ["spectrum", "lyapunov", "memory"]
    kinds = plugins().analysis_kinds()
    assert plan_layers(still, "auto", kinds=[kinds["empirical_memory"]]).source == "weights"
    assert plan_layers(still, "auto", data_asked=True).source == "data"
    with sk.open_checkpoint("tiny-mamba") as model:
        assert plan_layers(model, "auto", kinds=[kinds["similarity"]]).source == "data"


def test_weights_that_are_drawn_anew_choose_data_mode_where_there_is_one(still):
    def mode(model, asked, randomize):
        spec = RunSpec(model="tiny-mamba", mode=asked, randomize=randomize)
        return resolve(model, spec).spec.mode

    assert mode(still, "auto", "all") == "weights"
    with sk.open_checkpoint("tiny-mamba") as model:
        assert mode(model, "auto", None) == "weights"
        assert mode(model, "auto", "mlps") == "data"
        assert mode(model, "weights", "mixers") == "weights"


def test_no_hint_leads_to_a_mode_that_there_is_not(still):
    for mode in ("auto", "weights"):
        with pytest.raises(UsageError, match="no MLP") as caught:
            sk.analyze(still, mode=mode, randomize="mlps")
        assert caught.value.hint == "randomize='mixers'"
    for mode in ("auto", "weights"):
        with pytest.raises(UsageError, match="hidden states, and .* cannot be run") as caught:
            sk.analyze(still, analyses=["spectrum", "probe", "similarity"], mode=mode)
        assert caught.value.hint == "leave probe and similarity out"
    with pytest.raises(UsageError, match="reads no text") as caught:
        sk.analyze(still, mode="weights", text="book.txt")
    assert caught.value.hint == "leave the text out"


def test_where_the_model_runs_hints_lead_to_data_mode():
    with pytest.raises(UsageError, match="no MLP") as caught:
        sk.analyze("tiny-mamba", mode="weights", randomize="mlps")
    assert caught.value.hint == "mode='data'"
    with pytest.raises(UsageError, match="reads no text") as caught:
        sk.analyze("tiny-mamba", mode="weights", text="book.txt")
    assert caught.value.hint.startswith("mode='data'")


def test_a_source_of_tokens_is_for_data_mode():
    with pytest.raises(UsageError, match="source is for data mode") as caught:
        sk.analyze("tiny-mamba", mode="weights", source=TokenOptions())
    assert caught.value.hint == "leave source out"


def test_a_model_without_a_layer_that_can_be_read(hybrid):
    with hybrid(None) as model, pytest.raises(UnsupportedError, match="can be analysed: not read"):
        plan_layers(model, "auto")


def test_a_model_without_a_sequence_layer(hybrid):
    with hybrid() as model:
        with pytest.raises(UnsupportedError, match="has no sequence layer") as caught:
            plan_layers(model, "auto")
        assert caught.value.exit_code == 3


def test_two_claims_are_an_error_that_names_both(hybrid):
    with hybrid(None) as model:
        other = Hybrid(())
        other.name = "other"
        plugins().architectures.add("other", other, PluginInfo("o", "dist-other", "1"))
        with pytest.raises(UsageError, match=r"hybrid \(dist-hybrid\) and other \(dist-other\)"):
            Model(model.checkpoint)


def folder_of(model, **settings):
    resolved = resolve(model, RunSpec(model="tiny-mamba", **settings))
    return run_folder(model, resolved, contents_of(model, resolved))


def test_folders_are_named_after_model_commit_and_mode():
    with sk.open_checkpoint("tiny-mamba") as model:
        revision = model.checkpoint.revision
        assert folder_of(model).parts == ("tiny-mamba", revision, "weights")
        assert folder_of(model, mode="data").name == "data"


def test_runs_that_differ_have_folders_that_differ(tmp_path):
    text = tmp_path / "book.txt"
    names = []
    with sk.open_checkpoint("tiny-mamba") as model:
        for content, path, settings in (
            ("one", text, {}),
            ("two", text, {}),
            ("two", text, {"gauge": "dsf"}),
            ("two", tmp_path / "same.txt", {"gauge": "dsf"}),
        ):
            path.write_text(content)
            source = TokenOptions(text=str(path))
            names.append(folder_of(model, source=source, **settings).name)
    assert all(name.startswith("data-") for name in names)
    assert len(set(names)) == 3
    assert names[2] == names[3]


def test_an_architecture_that_fails_at_the_question_does_not_claim(hybrid, caplog):
    with hybrid(None) as model:
        broken = Hybrid(())
        broken.name = "broken"
        broken.claims = lambda checkpoint: checkpoint.config["no such key"]
        plugins().architectures.add("broken", broken, PluginInfo("b", "dist-broken", "1"))
        logging.getLogger("spectrakit").propagate = True
        assert Model(model.checkpoint).architecture.name == "hybrid"
    assert "broken of dist-broken failed" in caplog.text
