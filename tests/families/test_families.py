"""What every family must keep: each layer's recurrence, run on its input, gives its output."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import spectrakit as sk
from spectrakit.errors import UnsupportedError
from spectrakit.tokens import TokenOptions
from tests.families import FAMILIES
from tests.families.base import Family, observe


@pytest.fixture(scope="module", params=FAMILIES, ids=str)
def family(request: pytest.FixtureRequest) -> Family:
    return request.param


@pytest.fixture(scope="module")
def model(family, tmp_path_factory):
    folder = family.write(tmp_path_factory.mktemp("families") / str(family))
    with sk.open_checkpoint(str(folder)) as opened:
        yield opened


def assert_within(found, expected, tolerance):
    error = (found - expected).abs().max() / expected.abs().max().clamp(min=1e-3)
    assert error < tolerance, f"relative error {error:.2e}"


def test_the_layers_are_listed(family, model):
    assert tuple(layer.kind for layer in model.layers) == family.kinds
    assert [layer.index for layer in model.layers] == list(range(len(family.kinds)))


def test_every_recurrence_gives_the_layers_own_output(family, model):
    seen = observe(model, family.token_ids())
    readable = [layer for layer in model.layers if layer.mixer is not None]
    assert [layer for layer, _ in seen] == readable  # each once, in the order they run
    for layer, observation in seen:
        assert observation.outputs is not None
        assert observation.output().shape == observation.outputs.shape
        assert_within(observation.output(), observation.outputs, 1e-4)
        operator = observation.recurrence.operator
        assert (operator.structure, operator.heads) == (layer.mixer.operator, layer.mixer.heads)
        if observation.recurrence.log_normaliser is not None:
            for gauge in ("dsf", "unnormalised"):
                other = observation.recurrence.in_gauge(gauge)
                y = other.run(observation.inputs)
                y = y if observation.finish is None else observation.finish(y)
                assert_within(y, observation.outputs, 1e-3)


def test_the_eigenvalues_are_those_of_the_matrices(family, model):
    for _, observation in observe(model, family.token_ids()):
        recurrence = observation.recurrence
        operator = recurrence.at(family.tokens - 1)
        found = operator.eigenvalues()
        times = torch.tensor(found.multiplicities)
        values = found.values.repeat_interleave(times, -1)
        trace = operator.dense().diagonal(dim1=-2, dim2=-1).sum(-1)
        assert_within(values.sum(-1).real, trace.real, 1e-4)
        assert values.shape[-1] == operator.state_size


def test_watching_changes_nothing(family, model):
    from transformers import AutoModel

    from spectrakit.architectures.transformers_model import quiet_transformers

    runnable = model.architecture.load(model.checkpoint, "cpu")
    tokens = family.token_ids()
    hidden = []
    handle = runnable.model.base_model.register_forward_hook(
        lambda _, __, output: hidden.append(output[0])
    )
    runnable.run(tokens, lambda *_: None)
    handle.remove()
    folder = model.checkpoint.source
    with quiet_transformers(), torch.no_grad():
        theirs = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
        expected = theirs(input_ids=tokens, use_cache=False)[0]
        again = runnable.model.base_model(input_ids=tokens, use_cache=False)[0]
    assert_within(hidden[0], expected, 1e-4)
    assert_within(again, expected, 1e-4)  # and the model is as before


def test_weights_mode_writes_the_spectra_it_promises(model):
    in_weights = [layer.index for layer in model.layers if layer.in_weights]
    if not in_weights:
        with pytest.raises(UnsupportedError, match="alone determine no spectrum"):
            sk.analyze(model, mode="weights")
        return
    run = sk.analyze(model, mode="weights")
    assert statuses(run, "analysed") == in_weights
    summary = run.table("spectrum_summary")
    assert set(summary.column("layer").to_pylist()) == set(in_weights)
    assert set(summary.column("mode").to_pylist()) <= {"static", "nominal"}


def test_data_mode_writes_the_spectrum_of_every_layer(family, model, tmp_path):
    np.save(tmp_path / "ids.npy", family.token_ids().numpy())
    options = TokenOptions(tokens=tmp_path / "ids.npy", batch_size=2, seq_len=family.tokens)
    run = sk.analyze(model, mode="data", source=options)
    readable = [layer.index for layer in model.layers if layer.mixer is not None]
    assert statuses(run, "analysed") == readable
    summary = run.table("spectrum_summary")
    assert set(summary.column("layer").to_pylist()) == set(readable)


def statuses(run, status):
    rows = run.table("layers").to_pylist()
    return [row["layer"] for row in rows if row["status"] == status]
