"""Every family is held to the checks that any plugin is, and to one that only transformers has."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import spectrakit as sk
from spectrakit.plugins import plugins
from spectrakit.testing import checks
from spectrakit.testing.suite import parametrize
from spectrakit.token_options import TokenOptions
from tests.families import FAMILIES


def sampled():
    """All checks of all families; what families share is checked once for what they share.

    A claim is an architecture's, and what it imports its module's.
    """
    architectures = plugins().register().architectures
    seen = set()
    for example in (family.example() for family in FAMILIES):
        shared = {
            "claims_only_its_own": example.architecture,
            "claims_from_headers_alone": type(architectures[example.architecture]).__module__,
        }
        for check in checks([example]):
            key = (check.name, shared.get(check.name, example.name))
            if key not in seen:
                seen.add(key)
                yield check


@parametrize(sampled())
def test_conformance(check):
    check()


def assert_within(found, expected, tolerance):
    error = (found - expected).abs().max() / expected.abs().max().clamp(min=1e-3)
    assert error < tolerance, f"relative error {error:.2e}"


@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_watching_changes_nothing(family, tmp_path):
    from transformers import AutoModel

    from spectrakit.architectures.transformers_model import quiet_transformers

    folder = family.write(tmp_path)
    with sk.open_checkpoint(str(folder)) as model:
        runnable = model.architecture.load(model.checkpoint, "cpu")
    tokens = family.token_ids()
    hidden = []
    handle = runnable.model.base_model.register_forward_hook(
        lambda _, __, output: hidden.append(output[0])
    )
    runnable.run(tokens, lambda *_: None)
    handle.remove()
    with quiet_transformers(), torch.no_grad():
        theirs = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
        if family.published is not None:
            ported = theirs(input_ids=tokens, use_cache=False)[0]
            family.published(theirs)
        expected = theirs(input_ids=tokens, use_cache=False)[0]
        again = runnable.model.base_model(input_ids=tokens, use_cache=False)[0]
    assert_within(hidden[0], expected, 1e-4)
    assert_within(again, expected, 1e-4)  # and the model is as before
    if family.published is not None:  # which the port is not: ten times the tolerance apart
        assert (ported - expected).abs().max() > 1e-3 * expected.abs().max()


@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_the_residual_stream_is_that_of_transformers(family, tmp_path):
    with sk.open_checkpoint(str(family.write(tmp_path))) as model:
        runnable = model.architecture.load(model.checkpoint, "cpu")
    tokens, found = family.token_ids(), []
    runnable.run(tokens, on_states=lambda _, states: found.append(states.clone()))
    with torch.no_grad():
        output = runnable.model.base_model(
            input_ids=tokens, use_cache=False, output_hidden_states=True
        )
    assert len(found) == len(output.hidden_states)
    theirs = [states.flatten(2) for states in output.hidden_states]
    # The last of theirs has gone through the final norm; some have none of before the first block.
    first = 1 if family.model_type in ("mamba", "mamba2", "falcon_mamba", "rwkv") else 0
    for found_states, expected in zip(found[first:], theirs[: len(theirs) - 1], strict=False):
        torch.testing.assert_close(found_states, expected)


@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_every_analysis_sees_every_layer(family, tmp_path):
    folder = family.write(tmp_path / "model")
    np.save(tmp_path / "ids.npy", family.token_ids().numpy())
    source = TokenOptions(tokens=tmp_path / "ids.npy", batch_size=2, seq_len=family.tokens)
    with sk.open_checkpoint(str(folder)) as model:
        readable = {layer.index for layer in model.layers if layer.mixer is not None}
        analyses = ("spectrum", "lyapunov", "kernel")
        run = sk.analyze(model, analyses=analyses, mode="data", source=source)
    for table in ("spectrum_summary", "spectrum_histogram", "lyapunov", "decay_kernel"):
        layers = run.table(table)["layer"].to_pylist()
        assert set(layers) == readable, table
        assert layers == sorted(layers), f"{table} is not in the order of the layers"
