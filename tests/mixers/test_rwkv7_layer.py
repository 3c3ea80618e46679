"""The time mixing of RWKV-7 written out: against the paper's equations, one token at a time."""

from __future__ import annotations

import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from spectrakit.mixers.rwkv7_layer import RWKV7Layer
from tests.mixers.test_delta_layer import random_parameters
from tests.mixers.test_mamba import assert_within


def by_tokens(mixer, hidden, p):
    """Outputs (B, T, E), with the state as the paper has it: values by keys, (B, H, P, N)."""
    B, _, E = hidden.shape
    H, N = mixer.heads, mixer.state_size
    state = torch.zeros(B, H, N, N, dtype=hidden.dtype)
    before = torch.zeros(B, E, dtype=hidden.dtype)
    outputs = []
    for x in hidden.unbind(1):
        mixed = {name: x + p[f"mix_{name}"].flatten() * (before - x)
                 for name in ("receptance", "key", "value", "decay", "rate", "gate")}  # fmt: skip
        before = x
        r, k, v = (mixed[name] @ p[name].T for name in ("receptance", "key", "value"))
        raw = p["decay_bias"].flatten() + (mixed["decay"] @ p["decay_down"]).tanh() @ p["decay_up"]
        w = (-math.exp(-0.5) * raw.sigmoid()).exp()
        a = (p["rate_bias"].flatten() + mixed["rate"] @ p["rate_down"] @ p["rate_up"]).sigmoid()
        g = (mixed["gate"] @ p["gate_down"]).sigmoid() @ p["gate_up"]
        c = (k * p["removal"].flatten()).reshape(B, H, N)
        c = c / c.square().sum(-1, keepdim=True).sqrt()
        k = k * (1 + (a - 1) * p["replacement"].flatten())
        r, k, v, w, a = (each.reshape(B, H, N) for each in (r, k, v, w, a))
        removed = torch.einsum("bhpn,bhn->bhp", state, c)
        state = state * w[:, :, None] - removed[..., None] * (a * c)[:, :, None]
        state = state + v[..., None] * k[:, :, None]
        y = torch.einsum("bhpn,bhn->bhp", state, r)
        spread = (y - y.mean(-1, keepdim=True)) / (y.var(-1, correction=0, keepdim=True)
                                                   + 64e-5).sqrt()  # fmt: skip
        normed = spread.flatten(1) * p["norm"] + p["norm_bias"]
        present = ((r * k * p["bonus"]).sum(-1, keepdim=True) * v).flatten(1)
        outputs.append(((normed + present) * g) @ p["output"].T)
    return torch.stack(outputs, 1)


@given(heads=st.integers(1, 3), states=st.integers(2, 4), tokens=st.integers(1, 12),
       seed=st.integers(0, 2**16))  # fmt: skip
def test_it_is_the_paper_token_by_token(heads, states, tokens, seed):
    mixer = RWKV7Layer(heads, states, model_width=5, decay_rank=2, rate_rank=3, gate_rank=4,
                       value_rank=None)  # fmt: skip
    p = random_parameters(mixer, seed)
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(2, tokens, 5, generator=generator, dtype=torch.float64)
    assert_within(mixer.from_input(hidden, p).output(), by_tokens(mixer, hidden, p), 1e-9)
