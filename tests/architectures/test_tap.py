"""The tap of a running model: what it shows is what the layer did, in both formats."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import spectrakit as sk
from spectrakit.errors import AnalysisError, UnsupportedError
from spectrakit.tokens import bundled_text
from tests.mixers.test_mamba import assert_within
from tests.support.mamba_ssm_files import write_mamba_ssm


def text_tokens(batch=2, length=96):
    text = bundled_text().encode()[: batch * length]
    return torch.from_numpy(np.frombuffer(text, np.uint8).astype(np.int64)).view(batch, length)


@pytest.fixture(scope="module", params=["transformers", "mamba_ssm"])
def model(request, tiny_folder, tmp_path_factory):
    folder = tiny_folder
    if request.param == "mamba_ssm":
        folder = write_mamba_ssm(tiny_folder, tmp_path_factory.mktemp("original") / "model")
    with sk.open_checkpoint(str(folder)) as opened:
        yield opened


def mixer_calls(runnable, tokens):
    """Input and output of every mixer module in one forward pass, and what the tap showed."""
    modules, seen = {}, {}
    handles = [
        runnable.model.get_submodule(layer.path).register_forward_hook(
            lambda _, args, output, index=layer.index: modules.update({index: (args[0], output)})
        )
        for layer in runnable.layers
    ]
    runnable.run(tokens, lambda layer, observation: seen.update({layer.index: observation}))
    for handle in handles:
        handle.remove()
    return modules, seen


def test_every_layer_gives_its_own_output(model):
    runnable = model.architecture.load(model.checkpoint, "cpu")
    modules, seen = mixer_calls(runnable, text_tokens())
    assert sorted(seen) == sorted(modules) == [0, 1, 2]
    for layer in model.layers:
        p = model.checkpoint.read(n for n in layer.parameters.values() if n in
                                  model.checkpoint.tensors)  # fmt: skip
        p = {role: p[name] for role, name in layer.parameters.items() if name in p}
        hidden, output = modules[layer.index]
        # The recurrence on the mixer's own input gives the mixer's own output ...
        recomputed = layer.mixer.from_input(hidden, p)
        assert_within(recomputed.output(), output, 1e-5)
        # ... and the tap saw that same recurrence: its A, B and C, its input, and so its output.
        tapped = seen[layer.index]
        heads = tapped.recurrence.operator.heads
        for one, other in (
            (tapped.inputs, recomputed.inputs),
            (tapped.recurrence.eigenvalues().decay_rate,
             recomputed.recurrence.eigenvalues().decay_rate),
            (tapped.recurrence.input_map.matrix(heads),
             recomputed.recurrence.input_map.matrix(heads)),
            (tapped.recurrence.output_map.matrix(heads),
             recomputed.recurrence.output_map.matrix(heads)),
        ):  # fmt: skip
            assert_within(one, other, 1e-5)
        assert_within(recomputed.finish(tapped.recurrence.run(tapped.inputs)), output, 1e-5)
        assert_within(tapped.output(), tapped.outputs, 1e-5)


def test_in_float64_every_layer_is_its_quadratic_form(tiny_folder):
    """Trained weights, real text: the recurrence against all pairs of tokens written out."""
    from tests.mixers import test_mamba, test_mamba2

    written_out = {"mamba": test_mamba.quadratic_form, "mamba2": test_mamba2.quadratic_form}
    with sk.open_checkpoint(str(tiny_folder)) as model:
        runnable = model.architecture.load(model.checkpoint, "cpu")
        modules, _ = mixer_calls(runnable, text_tokens(1, 48))
        for layer in model.layers:
            names = {r: layer.parameters[r] for r in layer.mixer.shapes()}
            tensors = model.checkpoint.read(names.values())
            p = {role: tensors[name].double() for role, name in names.items()}
            hidden = modules[layer.index][0].double()
            observation = layer.mixer.from_input(hidden, p)
            expected = written_out[layer.kind](layer.mixer, hidden, p)
            assert_within(observation.output(), expected, 1e-10)
            # ... and the closed-form eigenvalues are those of the matrices A_t, built and solved.
            operator = observation.recurrence.operator.at(-1)
            values = torch.linalg.eigvals(operator.dense()).real.sort(-1).values
            found = operator.eigenvalues().modulus.expand_as(values).sort(-1).values
            torch.testing.assert_close(found, values, rtol=1e-12, atol=1e-14)


def test_watching_changes_nothing(model):
    runnable = model.architecture.load(model.checkpoint, "cpu")
    tokens = text_tokens()
    outputs = []
    handle = runnable.model.base_model.register_forward_hook(
        lambda _, __, output: outputs.append(output[0])
    )
    runnable.run(tokens)
    runnable.run(tokens, lambda *_: None)
    handle.remove()
    assert torch.equal(*outputs)


def test_the_model_is_restored_after_a_pass(model):
    import sys

    runnable = model.architecture.load(model.checkpoint, "cpu")
    module = sys.modules[type(runnable.model.get_submodule(model.layers[0].path)).__module__]
    name = runnable.taps[0].source.name
    before = getattr(module, name)

    def fail(*_):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        runnable.run(text_tokens(), fail)
    assert getattr(module, name) is before
    assert not runnable.model.get_submodule(model.layers[0].path)._forward_pre_hooks


def test_padding_after_the_text_changes_nothing_before_it(model):
    runnable = model.architecture.load(model.checkpoint, "cpu")
    tokens = text_tokens(1, 40)
    padded = torch.nn.functional.pad(tokens, (0, 9))
    _, alone = mixer_calls(runnable, tokens)
    _, beside = mixer_calls(runnable, padded)
    for index in alone:
        a = alone[index].recurrence.eigenvalues().decay_rate
        b = beside[index].recurrence.eigenvalues().decay_rate[:, :40]
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)


def test_a_layer_that_recorded_nothing_is_an_error(tiny_mamba_folder):
    with sk.open_checkpoint(str(tiny_mamba_folder)) as model:
        runnable = model.architecture.load(model.checkpoint, "cpu")
        mixer = runnable.model.get_submodule(model.layers[1].path)
        mixer.forward = lambda hidden_states, **_: hidden_states
        with pytest.raises(AnalysisError, match=r"layers \[1\] made no calls of mamba_sel"):
            runnable.run(text_tokens(), lambda *_: None)


def test_another_transformers_is_named(tiny_mamba_folder, monkeypatch):
    import transformers.models.mamba.modeling_mamba as modeling

    with sk.open_checkpoint(str(tiny_mamba_folder)) as model:
        runnable = model.architecture.load(model.checkpoint, "cpu")
        monkeypatch.delattr(modeling, "mamba_selective_scan")
        with pytest.raises(UnsupportedError, match=r"there is no mamba_selective_scan") as caught:
            runnable.run(text_tokens(), lambda *_: None)
    assert "transformers>=5.16,<6" in caught.value.hint


def test_both_formats_are_one_model(tiny_folder, tmp_path):
    original = write_mamba_ssm(tiny_folder, tmp_path / "original")
    logits = []
    for folder in (tiny_folder, original):
        with sk.open_checkpoint(str(folder)) as model:
            runnable = model.architecture.load(model.checkpoint, "cpu")
            with torch.no_grad():
                logits.append(runnable.model(text_tokens()).logits)
    assert torch.equal(*logits)


def test_the_model_is_the_one_transformers_loads(tiny_folder):
    from transformers import AutoModelForCausalLM

    from spectrakit.architectures.transformers_model import quiet_transformers

    with quiet_transformers():
        theirs = AutoModelForCausalLM.from_pretrained(tiny_folder).eval()
        with torch.no_grad():
            expected = theirs(text_tokens()).logits
    with sk.open_checkpoint(str(tiny_folder)) as model, torch.no_grad():
        ours = model.architecture.load(model.checkpoint, "cpu").model
        assert torch.equal(ours(text_tokens()).logits, expected)
