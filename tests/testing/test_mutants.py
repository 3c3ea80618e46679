"""The tests of the checks: each catches a plugin that is wrong in the way it is meant for."""

from __future__ import annotations

import pytest

import spectrakit as sk
from spectrakit.testing import checks, damage, run_checks
from spectrakit.testing.forward_checks import FORWARD_CHECKS
from spectrakit.testing.header_checks import HEADER_CHECKS
from spectrakit.testing.mixer_checks import MIXER_CHECKS

LAYER, CHECKPOINT = "demo layer", "demo checkpoint"
#: Those have mutants of their own: test_analysis_mutants.py.
ANALYSES = ("demo analysis, of weights", "demo analysis, of tokens")

DECAY = "            logsigmoid(-raw_gate),\n"
ON_LAYER = "on_layer(layer, layer.mixer.observed(raw_gate, u, p, output))"
NORMED = "normed = layer_norm(hidden, hidden.shape[-1:])"
KEPT = """self.kept = getattr(self, "kept", [])
                self.kept.append(layer.mixer.observed(raw_gate, u, p, output))
                on_layer(layer, self.kept[-1])"""
OPERATOR = "    operator = DiagonalDecay("
WRONG = """    class Wrong(DiagonalDecay):
            def eigenvalues(self):
                return DiagonalDecay(self.log_decay / 2).eigenvalues()
        operator = Wrong("""
SCALED = """    class Wrong(DiagonalDecay):
            def scaled(self, log_factor):
                return DiagonalDecay(self.log_decay).scaled(-log_factor)
        operator = Wrong("""
CLAIM = 'return checkpoint.config.get("model_type") == "demo"'

#: Subject and check, the file of the mistake, what is right there and what is wrong.
MUTANTS = {
    "wrong sign of the decay": (
        LAYER, "recurrence_gives_the_output_in_float64",
        "mixer.py", DECAY, DECAY.replace("log", "-log"),
    ),
    "wrong sign of the decay, in a model": (
        CHECKPOINT, "recurrence_gives_the_layers_output",
        "mixer.py", DECAY, DECAY.replace("log", "-log"),
    ),
    "off by one in time": (
        LAYER, "recurrence_gives_the_output_in_float64",
        "mixer.py", DECAY, DECAY.replace("raw_gate", "raw_gate.roll(1, 1)"),
    ),
    "swapped head axis": (
        LAYER, "has_the_shapes_it_says", "mixer.py", "log_decay.unsqueeze(-1)",
        "log_decay.unsqueeze(-2)",
    ),
    "swapped head axis, in a model": (
        CHECKPOINT, "has_the_shapes_it_says", "mixer.py", "log_decay.unsqueeze(-1)",
        "log_decay.unsqueeze(-2)",
    ),
    "a claim that loads weights": (
        CHECKPOINT, "claims_from_headers_alone", "architecture.py", CLAIM,
        f"checkpoint.read(checkpoint.tensors)\n        {CLAIM}",
    ),
    "a claim that imports torch": (
        CHECKPOINT, "claims_from_headers_alone", "architecture.py", CLAIM,
        f"import torch\n        {CLAIM}",
    ),
    "a missing padding mask": (
        CHECKPOINT, "padding_is_masked", "model.py", "if valid is not None:", "if False:",
    ),
    "a claim on everything": (
        CHECKPOINT, "claims_only_its_own", "architecture.py", CLAIM, "return True",
    ),
    "a role that is no parameter": (
        LAYER, "describes_itself", "mixer.py", '= ("gate_bias",)', '= ("gait_bias",)',
    ),
    "weights mode in half precision": (
        LAYER, "weights_mode_is_as_it_says", "mixer.py", '"gate_bias"].double()', '"gate_bias"]',
    ),
    "digits lost": (
        LAYER, "recurrence_gives_the_output_in_float32",
        "mixer.py", "gain=raw_gate.sigmoid()", "gain=(raw_gate + 1e6 - 1e6).sigmoid()",
    ),
    "eigenvalues of another operator": (
        LAYER, "eigenvalues_are_those_of_the_matrices",
        "mixer.py", OPERATOR, WRONG,
    ),
    "eigenvalues of another operator, in a model": (
        CHECKPOINT, "eigenvalues_are_those_of_the_matrices",
        "mixer.py", OPERATOR, WRONG,
    ),
    "the inverse of a scale": (
        LAYER, "operators_agree_with_their_matrices",
        "mixer.py", OPERATOR, SCALED,
    ),
    "the inverse of a scale, in a model": (
        CHECKPOINT, "operators_agree_with_their_matrices",
        "mixer.py", OPERATOR, SCALED,
    ),
    "a look into the future": (
        LAYER, "chunks_do_not_matter", "mixer.py", "self.project(hidden, p), p",
        "self.project(hidden - hidden.mean(1, keepdim=True), p), p",
    ),
    "a look into the future, in a model": (
        CHECKPOINT, "chunks_do_not_matter", "model.py", NORMED,
        f"{NORMED}\n            normed = normed - normed.mean(1, keepdim=True)",
    ),
    "a look at other sequences": (
        LAYER, "batch_order_does_not_matter", "mixer.py", "self.project(hidden, p), p",
        "self.project(hidden - hidden[:1], p), p",
    ),
    "a look at other sequences, in a model": (
        CHECKPOINT, "batch_order_does_not_matter", "model.py", NORMED,
        f"{NORMED}\n            normed = normed - normed[:1]",
    ),
    "chance": (
        LAYER, "is_deterministic", "mixer.py", "gain=raw_gate.sigmoid()",
        "gain=raw_gate.sigmoid() + 1e-12 * raw_gate.new_empty(()).normal_()",
    ),
    "chance, in a model": (
        CHECKPOINT, "is_deterministic", "model.py", NORMED,
        f"{NORMED}\n            normed = normed + 1e-6 * torch.randn_like(normed)",
    ),
    "a table of all pairs": (
        LAYER, "memory_is_linear_in_tokens", "mixer.py", "gain=raw_gate.sigmoid()",
        "gain=(0 * raw_gate[:, :, None] + raw_gate[:, None]).sigmoid()[:, 0]",
    ),
    "a table of all pairs, in a model": (
        CHECKPOINT, "memory_is_linear_in_tokens", "mixer.py", "gain=raw_gate.sigmoid()",
        "gain=(0 * raw_gate[:, :, None] + raw_gate[:, None]).sigmoid()[:, 0]",
    ),
    "all layers kept": (
        CHECKPOINT, "holds_one_layer_at_a_time", "model.py", ON_LAYER,
        KEPT,
    ),
    "a stream that stays as it was": (
        CHECKPOINT, "shows_the_residual_stream", "model.py",
        "return hidden if changed is None else changed", "return hidden",
    ),
    "a stream that is not shown behind the last block": (
        CHECKPOINT, "shows_the_residual_stream", "model.py",
        "on_states, depth, hidden + output",
        "on_states if depth == 1 else None, depth, hidden + output",
    ),
    "a model that sees ahead": (
        CHECKPOINT, "shows_the_residual_stream", "model.py", NORMED,
        f"{NORMED}\n            normed = normed + 1e-3 * normed.roll(-1, 1)",
    ),
    "a mixer that is driven in vain": (
        CHECKPOINT, "shows_its_mixers_alone", "model.py",
        "normed = shown(on_input", "shown(on_input",
    ),
    "a mixer whose output is not shown": (
        CHECKPOINT, "shows_its_mixers_alone", "model.py",
        "if on_output is not None:", "if on_output is not None and layer.index == 0:",
    ),
    "a mixer that sees ahead": (
        CHECKPOINT, "shows_its_mixers_alone", "model.py",
        "normed = shown(on_input, layer, normed)",
        "normed = shown(on_input, layer, normed)\n            normed = normed + normed.roll(-1, 1)",
    ),
    "layers counted from one": (
        CHECKPOINT, "lists_its_layers", "architecture.py", "Layer(index,", "Layer(index + 1,",
    ),
    "shapes not compared": (
        CHECKPOINT, "wrong_shapes_are_refused", "architecture.py",
        "    check_parameters(checkpoint, layer)\n", "",
    ),
    "a claim that looks at files": (
        CHECKPOINT, "is_the_same_in_memory", "architecture.py", CLAIM,
        f"{CLAIM} and len(checkpoint.files) > 0",
    ),
    "another mode than it says": (
        CHECKPOINT, "weights_mode_writes_what_it_promises", "mixer.py",
        'log_decay, mode="nominal"', 'log_decay, mode="data"',
    ),
    "a layer that is not shown": (
        CHECKPOINT, "data_mode_writes_every_spectrum", "model.py",
        "if on_layer is not None:", "if on_layer is not None and layer.index == 0:",
    ),
}  # fmt: skip


def outcome(found, subject, name):
    (check,) = [check for check in checks(found) if (check.subject, check.name) == (subject, name)]
    (result,) = run_checks([check])
    return result


def test_the_template_is_right(examples):
    results = list(run_checks(checks(examples())))
    assert [result for result in results if result.outcome != "passed"] == []
    assert {result.subject for result in results} == {LAYER, CHECKPOINT, *ANALYSES}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_is_caught(mutant, examples):
    subject, name, file, right, wrong = MUTANTS[mutant]
    result = outcome(examples({file: (right, wrong)}), subject, name)
    assert result.outcome == "failed"
    assert "Error:" not in result.reason, "it fails for what it found, not because it broke"


def test_a_nan_that_nobody_notices_is_caught(examples, monkeypatch):
    monkeypatch.setattr(sk.Model, "recurrence", lambda model, index: None)
    assert outcome(examples(), CHECKPOINT, "nan_is_refused").reason == "NaN is not noticed"


def test_a_nan_that_is_not_named_is_caught(examples, monkeypatch):
    def recurrence(model, index):
        raise sk.errors.MalformedError("something is wrong")

    monkeypatch.setattr(sk.Model, "recurrence", recurrence)
    reason = outcome(examples(), CHECKPOINT, "nan_is_refused").reason
    assert reason == "the error does not name layers.0.gate.bias: something is wrong"


def test_a_truncated_file_that_nobody_notices_is_caught(examples, monkeypatch):
    monkeypatch.setattr(damage, "truncated", lambda opened, folder, checkpoint: opened)
    reason = outcome(examples(), CHECKPOINT, "truncated_weights_are_refused").reason
    assert reason == "a truncated file is not noticed"


def test_every_check_is_tested():
    tested = {(subject, name) for subject, name, *_ in MUTANTS.values()}
    tested |= {(CHECKPOINT, "nan_is_refused"), (CHECKPOINT, "truncated_weights_are_refused")}
    tested |= {(LAYER, "is_trained_as_it_is_read")}  # test_trained_mixers.py
    names = {(LAYER, check.__name__) for check in MIXER_CHECKS}
    names |= {(CHECKPOINT, check.__name__) for check in (*HEADER_CHECKS, *FORWARD_CHECKS)}
    assert tested == names
