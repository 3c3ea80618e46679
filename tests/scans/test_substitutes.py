"""Fast scans against the functions of transformers that they replace."""

from __future__ import annotations

import inspect
import sys
from importlib import import_module

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers.models.mamba import modeling_mamba
from transformers.models.mamba2 import modeling_mamba2

import spectrakit as sk
from spectrakit.scans import fast_scan, substitutes
from spectrakit.tokens import bundled_text
from tests.mixers.test_mamba import assert_within

SELECTIVE, CHUNK = "mamba_selective_scan", "mamba2_chunk_scan"
COMPILED, TORCH = 0, sys.maxsize  # state updates from which on the compiled scan is taken

mamba_sizes = st.fixed_dictionaries(
    {
        "batch": st.integers(1, 3),
        "channels": st.integers(1, 70),
        "tokens": st.integers(1, 140),
        "states": st.integers(1, 20),
    }
)
mamba2_sizes = st.fixed_dictionaries(
    {
        "batch": st.integers(1, 3),
        "tokens": st.integers(1, 140),
        "groups": st.integers(1, 3),
        "heads_of_group": st.integers(1, 3),
        "width": st.integers(1, 5),
        "states": st.integers(1, 6),
    }
)
maybe = st.booleans()


def mamba_call(batch, channels, tokens, states, dtype=torch.float32):
    """Arguments of `mamba_selective_scan`, laid out in memory as the mixers have them."""
    gate = torch.randn(batch, tokens, 2 * channels, dtype=dtype)
    return {
        "hidden_states": torch.randn(batch, channels, tokens, dtype=dtype),
        "dt": torch.randn(batch, channels, tokens, dtype=dtype),
        "A": -torch.rand(channels, states) * 8,
        "B": torch.randn(batch, tokens, states, dtype=dtype).transpose(1, 2),
        "C": torch.randn(batch, tokens, states, dtype=dtype).transpose(1, 2),
        "D": torch.randn(channels),
        "z": gate.transpose(1, 2).chunk(2, dim=1)[1],
        "delta_bias": torch.randn(channels) - 3,
    }


def mamba2_call(batch, tokens, groups, heads_of_group, width, states, dtype=torch.float32):
    """Arguments of `mamba2_chunk_scan`."""
    heads = groups * heads_of_group
    return {
        "hidden_states": torch.randn(batch, tokens, heads, width, dtype=dtype),
        "dt": torch.randn(batch, tokens, heads, dtype=dtype),
        "A": -torch.rand(heads) * 16,
        "B": torch.randn(batch, tokens, groups, states, dtype=dtype),
        "C": torch.randn(batch, tokens, groups, states, dtype=dtype),
        "chunk_size": 32,
        "D": torch.randn(heads),
        "dt_bias": torch.randn(heads) - 3,
        "initial_states": torch.randn(batch, heads, width, states),
    }


def is_it(*args, **kwargs):
    """Stands for the original where it is to be called."""
    return "the original"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("compiled_from", [COMPILED, TORCH], ids=["compiled", "torch"])
@given(sizes=mamba_sizes, seed=st.integers(0, 2**16), softplus=maybe, absent=st.sets(
    st.sampled_from(["D", "z", "delta_bias"])))  # fmt: skip
def test_selective_scan(dtype, compiled_from, sizes, seed, softplus, absent):
    torch.manual_seed(seed)
    call = mamba_call(**sizes, dtype=dtype) | dict.fromkeys(absent)
    if not softplus:
        call["dt"] = call["dt"].abs()
        call["delta_bias"] = None
    original = modeling_mamba.mamba_selective_scan
    options = {"delta_softplus": softplus, "return_last_state": True}
    y, state = original(**call, **options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(substitutes, "COMPILED_FROM", compiled_from)
        fast_y, fast_state = fast_scan(SELECTIVE, original)(**call, **options)
        only_y = fast_scan(SELECTIVE, original)(**call, delta_softplus=softplus)
    assert (fast_y.dtype, fast_state.dtype) == (y.dtype, state.dtype)
    assert_within(fast_y, y, 2e-6)
    assert_within(fast_state, state, 2e-6)
    assert torch.equal(only_y, fast_y)


@given(sizes=mamba2_sizes, seed=st.integers(0, 2**16), softplus=maybe, absent=st.sets(
    st.sampled_from(["D", "dt_bias", "initial_states"])))  # fmt: skip
def test_chunk_scan(sizes, seed, softplus, absent):
    torch.manual_seed(seed)
    call = mamba2_call(**sizes) | dict.fromkeys(absent)
    original = modeling_mamba2.mamba2_chunk_scan
    options = {"dt_softplus": softplus, "dt_limit": (1e-3, 0.5), "return_final_states": True}
    y, state = original(**call, **options)
    fast_y, fast_state = fast_scan(CHUNK, original)(**call, **options)
    assert (fast_y.shape, fast_y.dtype, fast_y.is_contiguous()) == (y.shape, y.dtype, True)
    assert_within(fast_y, y, 1e-5)
    assert_within(fast_state, state, 1e-5)
    options.pop("return_final_states")
    assert torch.equal(fast_scan(CHUNK, original)(**call, **options), fast_y)


def test_chunk_scan_in_float64_is_the_recurrence():
    """One large step, then small ones: what the differences of a cumulative sum get wrong."""
    call = mamba2_call(2, 100, 1, 2, 3, 4, dtype=torch.float64)
    call["dt"] = torch.full_like(call["dt"], 1e-3)
    call["dt"][:, 3] = 1e3
    h = call["initial_states"].double()
    expected = []
    for t in range(100):
        step, u = call["dt"][:, t, :, None, None], call["hidden_states"][:, t, :, :, None]
        h = torch.exp(step * call["A"][:, None, None]) * h + step * u * call["B"][:, t, :, None]
        y = (h * call["C"][:, t, :, None]).sum(-1)
        expected.append(y + call["D"][:, None] * call["hidden_states"][:, t])
    call["dt_bias"] = None
    scan = fast_scan(CHUNK, is_it)
    y, state = scan(**call, return_final_states=True)
    assert_within(y, torch.stack(expected, 1), 1e-11)
    assert_within(state, h, 1e-11)
    single = {name: x.float() if isinstance(x, torch.Tensor) else x for name, x in call.items()}
    assert_within(scan(**single)[:, 10:].double(), y[:, 10:], 1e-6)


@pytest.mark.parametrize(
    ("name", "models"),
    [
        (SELECTIVE, ("mamba", "falcon_mamba", "jamba", "zamba")),
        (CHUNK, ("mamba2", "bamba", "granitemoehybrid", "falcon_h1", "zamba2", "nemotron_h")),
    ],
)
def test_all_modelling_files_have_the_same_function(name, models):
    known = {SELECTIVE: modeling_mamba, CHUNK: modeling_mamba2}[name]
    for model in models:
        file = import_module(f"transformers.models.{model}.modeling_{model}")
        assert inspect.signature(getattr(file, name)) == inspect.signature(getattr(known, name))


@pytest.mark.parametrize(
    ("name", "call"),
    [(SELECTIVE, mamba_call(1, 3, 5, 2)), (CHUNK, mamba2_call(1, 5, 1, 3, 2, 2))],
    ids=[SELECTIVE, CHUNK],
)
def test_other_calls_go_to_the_original(name, call):
    scan = fast_scan(name, is_it)
    with torch.no_grad():
        learned = call | {"D": call["D"].clone().requires_grad_()}
        assert torch.equal(scan(**learned), scan(**call))
    assert scan(**learned) == "the original"
    assert scan(**call, seq_idx=None).shape == call["hidden_states"].shape
    assert scan(**call, seq_idx=torch.zeros(1, 5)) == "the original"
    for move in (torch.Tensor.bfloat16, lambda x: x.to("meta")):
        moved = {n: move(x) if isinstance(x, torch.Tensor) else x for n, x in call.items()}
        assert scan(**moved) == "the original"


def test_other_functions_stay_as_they_are():
    assert fast_scan("rwkv_linear_attention", is_it) is is_it
    assert inspect.signature(fast_scan(SELECTIVE, modeling_mamba.mamba_selective_scan)) == (
        inspect.signature(modeling_mamba.mamba_selective_scan)
    )


def test_without_numba_the_scan_is_torch(monkeypatch):
    monkeypatch.setattr(substitutes, "COMPILED_FROM", TORCH)
    call = mamba_call(1, 40, 30, 4) | {"delta_softplus": True}
    expected = fast_scan(SELECTIVE, is_it)(**call)
    monkeypatch.setattr(substitutes, "COMPILED_FROM", COMPILED)
    # None there is an import that fails.
    monkeypatch.setitem(sys.modules, "spectrakit.scans.compiled", None)
    monkeypatch.delattr("spectrakit.scans.compiled", raising=False)
    substitutes.compiled_selective_scan.cache_clear()
    try:
        assert substitutes.compiled_selective_scan() is None
        assert torch.equal(fast_scan(SELECTIVE, is_it)(**call), expected)
    finally:
        substitutes.compiled_selective_scan.cache_clear()


@pytest.mark.parametrize("compiled_from", [COMPILED, TORCH], ids=["compiled", "torch"])
def test_logits_of_a_trained_model(tiny_folder, compiled_from, monkeypatch):
    monkeypatch.setattr(substitutes, "COMPILED_FROM", compiled_from)
    tokens = torch.tensor([list(bundled_text().encode()[:300])])
    with sk.open_checkpoint(str(tiny_folder)) as model, torch.no_grad():
        runnable = model.architecture.load(model.checkpoint, "cpu").model
        expected = runnable(tokens).logits
        kind = model.layers[0].kind
        file, name = {"mamba": (modeling_mamba, SELECTIVE), "mamba2": (modeling_mamba2, CHUNK)}[
            kind
        ]
        monkeypatch.setattr(file, name, fast_scan(name, getattr(file, name)))
        logits = runnable(tokens).logits
    assert not torch.equal(logits, expected)  # it was another function
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)
