"""A mixer as a black box: a white signal in place of what it is handed, read from its output."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

import spectrakit as sk
from spectrakit.analyses.base import Request
from spectrakit.analyses.empirical_memory.analysis import EmpiricalMemory
from spectrakit.analyses.empirical_memory.options import EmpiricalMemoryOptions
from spectrakit.architectures.base import Layer
from spectrakit.dynamics import DiagonalDecay, Recurrence
from spectrakit.dynamics.delays import Delays
from spectrakit.dynamics.fixed_memory import fixed_memory
from spectrakit.errors import AnalysisError, UnsupportedError, UsageError
from spectrakit.tables import Manifest, MemorySink
from spectrakit.token_options import TokenOptions
from tests.support import state_dicts

MIXERS = EmpiricalMemoryOptions("mixers")
MANIFEST = Manifest(model_id="model", revision="sha", mode="data")
WIDTH = 5


class Batch:
    """A batch of a model whose only layers are `mixers`, functions of (B, T, E)."""

    def __init__(self, mixers, handed):
        self.mixers_of_model = mixers
        self.handed = handed

    def mixers(self, on_input, on_output):
        for index, mixer in enumerate(self.mixers_of_model):
            hidden = self.handed.clone()
            changed = on_input(Layer(index, f"layers.{index}", "made up"), hidden)
            hidden = hidden if changed is None else changed
            on_output(Layer(index, f"layers.{index}", "made up"), mixer(hidden))


def started():
    sink = MemorySink(MANIFEST)
    return EmpiricalMemory(sink, Request(MIXERS)), sink


def see(analysis, mixers, batches=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    for _ in range(batches):
        handed = 3 + torch.randn(8, 256, WIDTH, generator=generator)
        analysis.see_rerun(Batch(mixers, handed), torch.ones(8, 256, dtype=torch.bool))


def measured(*mixers):
    analysis, sink = started()
    see(analysis, mixers)
    analysis.finish()
    return sink.run.table("empirical_memory").to_pylist()


def curve(rows, layer=0):
    return {row["delay"]: row["value"] for row in rows if row["layer"] == layer}


def threshold(rows, layer=0):
    return next(row["threshold"] for row in rows if row["layer"] == layer)


def delayed(x, delay):
    return torch.cat([torch.zeros_like(x[:, :delay]), x[:, : x.shape[1] - delay]], 1)


# ---- mixers whose memory is known -----------------------------------------------------------


def test_a_delay_remembers_that_delay_alone():
    rows = measured(lambda x: delayed(x, 3), lambda x: delayed(x, 7))
    for layer, delay in ((0, 3), (1, 7)):
        found = curve(rows, layer)
        assert found.pop(delay) == pytest.approx(1, abs=1e-6)
        assert max(found.values()) < 1.5 * threshold(rows, layer)
    assert {(row["driven_depth"], row["depth"]) for row in rows} == {(None, None)}


def test_a_convolution_remembers_its_width():
    taps = torch.randn(4, WIDTH, generator=torch.Generator().manual_seed(1))
    rows = measured(lambda x: sum(tap * delayed(x, k) for k, tap in enumerate(taps)))
    found = curve(rows)
    assert [found.pop(delay) for delay in range(4)] == pytest.approx([1] * 4, abs=1e-5)
    assert max(found.values()) < 1.5 * threshold(rows)


def test_a_convolution_of_one_output_remembers_shares_of_its_energy():
    taps = torch.tensor([0.5, 2.0, 1.0])
    rows = measured(lambda x: sum(t * delayed(x[..., :1], k) for k, t in enumerate(taps)))
    found = curve(rows)
    expected = (taps.square() / taps.square().sum()).tolist()
    assert [found[delay] for delay in range(3)] == pytest.approx(expected, abs=0.03)


@pytest.mark.parametrize("mixer", [torch.zeros_like, torch.ones_like])
def test_a_mixer_that_lets_nothing_through_remembers_nothing(mixer):
    assert max(map(abs, curve(measured(mixer)).values())) < 0.01


def test_a_mixer_of_single_tokens_remembers_no_others():
    rows = measured(lambda x: torch.cat([x, x.tanh()], -1))
    found = curve(rows)
    assert found.pop(0) == pytest.approx(1, abs=1e-6)
    assert max(found.values()) < 1.5 * threshold(rows)


def test_a_mixer_is_driven_around_what_the_model_hands_it():
    given = []
    measured(lambda x: given.append(x.clone()) or x)
    hidden = torch.stack(given[1:])  # the first is the model's own
    mean = hidden.flatten(0, 2).mean(0)
    torch.testing.assert_close(mean, torch.full((WIDTH,), 3.0), atol=0.1, rtol=0)
    spread = (hidden - mean).square().sum(-1).mean()
    assert spread.item() == pytest.approx(WIDTH, rel=0.05)  # a variance of one a feature


def test_outputs_that_are_no_numbers_are_refused():
    with pytest.raises(AnalysisError, match="mixer of layer 0 gives, driven alone, is Inf"):
        measured(lambda x: x / 0)


# ---- recurrences of weight files ------------------------------------------------------------


def of_file(tmp_path, tensors, config=None, **options):
    file = tmp_path / "model.safetensors"
    save_file(tensors, file)
    with sk.open_checkpoint(str(file), config=config) as model:
        found = sk.analyze(model, analyses="empirical_memory", options=[MIXERS], **options)
        recurrences = [model.recurrence(layer.index) for layer in model.layers]
    return found, recurrences


def wide_lru():
    tensors = state_dicts.lru(width=20, states=4)
    return tensors | {"seq.D": torch.zeros(20), "seq.nu_log": torch.linspace(-3.5, -1, 4)}


def wide_s5():
    tensors = state_dicts.s5(width=20, states=4)
    return tensors | {"seq.D": torch.zeros(20), "seq.log_step": torch.linspace(-2, 0, 4)[:, None]}


def s4d_of_equal_channels():
    tensors = state_dicts.minimal_s4d(channels=20, states=4)
    tensors["kernel.log_dt"] = torch.full((20,), -1.0)
    for name in ("log_A_real", "A_imag"):
        tensors[f"kernel.{name}"] = tensors[f"kernel.{name}"][:1].expand(20, -1).contiguous()
    return tensors | {"D": torch.zeros(20)}


@pytest.mark.parametrize(
    ("make", "config"),
    [(wide_lru, None), (wide_s5, state_dicts.S5_OPTIONS), (s4d_of_equal_channels, None)],
    ids=["LRU", "S5", "S4D"],
)
def test_it_is_the_memory_function_where_outputs_show_the_state(make, config, tmp_path):
    run, recurrences = of_file(tmp_path, state_dicts.layers(make), config)
    assert run.manifest.mode == "weights"
    rows = run.table("empirical_memory").to_pylist()
    for layer, recurrence in enumerate(recurrences):
        found = curve(rows, layer)
        delays = Delays(max(found) + 1)
        expected = fixed_memory(one_input(recurrence), delays).exact
        theory = dict(zip(expected.delays.tolist(), expected.memory[0].tolist(), strict=True))
        assert min(theory[1], theory[2]) > 0.1  # there is something to agree on
        errors = torch.tensor([found[delay] - theory[delay] for delay in found if delay in theory])
        assert len(errors) > 20
        assert errors.abs().max() < 0.03  # four and a half standard deviations
        assert errors.mean().abs() < 0.005
        assert rows[0]["dimension"] == pytest.approx(expected.rank[0].item(), abs=0.1)


def one_input(recurrence):
    """The same eigenvalues, driven by one input; conjugates where only one of a pair is stored."""
    eigenvalues = recurrence.operator.eigenvalues()
    log_modulus, phase = eigenvalues.log_modulus[:1], eigenvalues.phase[:1]
    if not bool((phase.sum().abs() < 1e-9).all()):  # the real part of a state has both
        log_modulus, phase = torch.cat([log_modulus] * 2, 1), torch.cat([phase, -phase], 1)
    return Recurrence(
        DiagonalDecay(log_modulus, phase), "static", "unnormalised", "channel", width=1
    )


def test_fewer_outputs_than_states_show_what_their_response_spans(tmp_path):
    run, (recurrence,) = of_file(tmp_path, state_dicts.layers(state_dicts.minimal_s4d, 1))
    rows = run.table("empirical_memory").to_pylist()
    # y = sum_tau k_tau u_{t-tau}: R^2(tau) = k_tau (sum k k^T)^-1 k_tau, whatever the direction of
    # u in a channel, which only scales its output.
    tokens = 6000
    impulse = torch.zeros(1, tokens, 3, 1, dtype=torch.float64)
    impulse[:, 0] = 1
    response = recurrence.run(impulse)[0, :, :, 0]
    gram = response.T @ response
    expected = torch.einsum("th,hk,tk->t", response, torch.linalg.inv(gram), response)
    for delay, value in curve(rows).items():
        assert value == pytest.approx(expected[delay].item(), abs=0.03), delay
    assert rows[0]["dimension"] == pytest.approx(3, abs=0.01)


def test_weights_that_leave_b_and_c_open_are_a_reason():
    run = sk.analyze("tiny-mamba", analyses="empirical_memory", options=[MIXERS], mode="weights")
    rows = run.table("empirical_memory").to_pylist()
    assert [row["layer"] for row in rows] == [0, 1, 2]
    assert {row["reason"] for row in rows} == {"unknown-b-or-c"}


def test_weights_have_no_stream_to_drive(tmp_path):
    save_file(state_dicts.layers(state_dicts.lru), tmp_path / "lru.safetensors")
    with pytest.raises(UsageError, match="do not show what drive='model' would drive") as error:
        sk.analyze(str(tmp_path / "lru.safetensors"), analyses="empirical_memory")
    assert "drive='mixers'" in str(error.value.hint)


# ---- models that run ------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["tiny-mamba", "tiny-mamba2"])
def test_a_mamba_mixer_remembers_what_its_convolution_holds(model):
    source = TokenOptions(max_tokens=8192, seq_len=256, batch_size=8)
    run = sk.analyze(model, analyses="empirical_memory", options=[MIXERS], source=source)
    rows = run.table("empirical_memory").to_pylist()
    assert {row["layer"] for row in rows} == {0, 1, 2}
    for layer in range(3):
        found = curve(rows, layer)
        assert min(found[delay] for delay in range(4)) > 0.9  # of width 4
        assert found[5] < 0.5


def test_a_model_that_runs_is_run_without_being_asked_to():
    run = sk.analyze("tiny-llama", analyses="empirical_memory", options=[MIXERS])
    rows = run.table("empirical_memory").to_pylist()
    assert run.manifest.mode == "data"
    assert all(curve(rows, layer)[1] > threshold(rows, layer) for layer in range(3))


def test_a_model_that_does_not_show_its_mixers_is_refused(monkeypatch):
    from spectrakit.architectures.transformers_model import TransformersModel

    monkeypatch.delattr(TransformersModel, "run_mixers")
    with pytest.raises(UnsupportedError, match="TransformersModel does not show its mixers alone"):
        sk.analyze("tiny-mamba", analyses="empirical_memory", options=[MIXERS])


def test_whole_blocks_in_place_of_layers_are_no_mixers():
    with pytest.raises(UsageError, match="compat shows no mixers alone"):
        sk.analyze(
            "tiny-llama",
            analyses="empirical_memory",
            options=[MIXERS],
            compat="rickenbach2025",
        )
