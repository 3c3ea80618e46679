"""Linear and norm attention against all pairs of tokens; lambda against the normalisers."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spectrakit.errors import UnsupportedError, UsageError
from spectrakit.mixers import LinearAttention, NormAttention
from tests.mixers.test_mamba import assert_within

sizes = {
    "model_width": st.integers(1, 6),
    "heads": st.integers(1, 3),
    "state_size": st.integers(1, 5),
    "head_width": st.integers(1, 4),
}
linear = st.builds(
    LinearAttention, **sizes, feature_map=st.sampled_from(["elu", "relu", "softmax"])
)
unnormalised = st.builds(
    LinearAttention,
    **sizes,
    feature_map=st.sampled_from(["elu", "relu", "softmax", "identity"]),
    normalised=st.just(False),
)
norm = st.builds(
    NormAttention,
    **sizes,
    norm_function=st.sampled_from(["exp", "elu", "softplus", "sigmoid"]),
)
runs = {"tokens": st.integers(1, 12), "seed": st.integers(0, 2**16)}

FEATURES = {
    "elu": lambda x: torch.where(x > 0, x + 1, x.exp()),
    "relu": lambda x: x.clamp(min=0),
    "softmax": lambda x: x.exp() / x.exp().sum(-1, keepdim=True),
    "identity": lambda x: x,
}
NORMS = {
    "exp": torch.exp,
    "elu": lambda z: torch.where(z > 0, z, torch.expm1(z)),
    "softplus": lambda z: torch.log1p(torch.exp(z)),
    "sigmoid": lambda z: 1 / (1 + torch.exp(-z)),
}


def random_layer(mixer, tokens, seed):
    torch.manual_seed(seed)
    p = {
        role: torch.randn(shape, dtype=torch.float64) / math.sqrt(shape[-1])
        for role, shape in mixer.shapes().items()
    }
    return torch.randn(2, tokens, mixer.model_width, dtype=torch.float64), p


def by_head(mixer, hidden, p, which):
    return (hidden @ p[f"{which}_projection"].T).unflatten(-1, (mixer.heads, -1))


def scores(mixer, hidden, p):
    """phi(q_t) . phi(k_s), zero where s > t: (B, H, T, T)."""
    phi = FEATURES[getattr(mixer, "feature_map", "identity")]
    query, key = (phi(by_head(mixer, hidden, p, which)) for which in ("query", "key"))
    return torch.einsum("bthn,bshn->bhts", query, key).tril()


def read_out(mixer, hidden, p, weights):
    """W_o sum_s weights_ts v_s."""
    value = by_head(mixer, hidden, p, "value")
    y = torch.einsum("bhts,bshp->bthp", weights, value)
    return y.flatten(-2) @ p["output_projection"].T


def all_pairs(mixer, hidden, p):
    """Linear attention with its normaliser."""
    weights = scores(mixer, hidden, p)
    total = weights.sum(-1, keepdim=True)
    return read_out(mixer, hidden, p, torch.where(total > 0, weights / total, 0))


def norms(mixer, hidden, p):
    """n_t of norm attention: (B, H, T)."""
    raw = hidden @ p["norm_projection"].T + p["offset"]
    return torch.exp(-NORMS[mixer.norm_function](raw)).transpose(1, 2)


def all_pairs_of_norm_attention(mixer, hidden, p):
    """Norm attention: every score times the reading token's n."""
    n = norms(mixer, hidden, p).unsqueeze(-1)
    weights = n * scores(mixer, hidden, p) / math.sqrt(mixer.state_size)
    return read_out(mixer, hidden, p, weights)


@given(mixer=linear, **runs)
def test_linear_attention_is_all_pairs_of_tokens(mixer, tokens, seed):
    hidden, p = random_layer(mixer, tokens, seed)
    observation = mixer.from_input(hidden, p)
    expected = all_pairs(mixer, hidden, p)
    assert_within(observation.output(), expected, 1e-12)
    other = observation.recurrence.in_gauge("unnormalised")
    assert_within(observation.finish(other.run(observation.inputs)), expected, 1e-12)


@given(mixer=unnormalised, **runs)
def test_without_a_normaliser_nothing_is_forgotten(mixer, tokens, seed):
    hidden, p = random_layer(mixer, tokens, seed)
    observation = mixer.from_input(hidden, p)
    expected = read_out(mixer, hidden, p, scores(mixer, hidden, p))
    assert_within(observation.output(), expected, 1e-12)
    recurrence = observation.recurrence
    assert recurrence.mode == "static"
    assert bool((recurrence.eigenvalues().modulus == 1).all())


@given(mixer=norm, **runs)
def test_norm_attention_is_all_pairs_of_tokens(mixer, tokens, seed):
    hidden, p = random_layer(mixer, tokens, seed)
    observation = mixer.from_input(hidden, p)
    assert_within(observation.output(), all_pairs_of_norm_attention(mixer, hidden, p), 1e-12)
    n = norms(mixer, hidden, p)
    found = observation.recurrence.eigenvalues().modulus[:, 1:].squeeze(-1)
    torch.testing.assert_close(
        found, (n[..., 1:] / n[..., :-1]).transpose(1, 2), rtol=1e-12, atol=0
    )
    assert observation.recurrence.starts[:, :2].tolist() == [[True, False][:tokens]] * 2


@given(mixer=linear.filter(lambda mixer: mixer.feature_map != "relu"), **runs)
def test_lambda_is_the_ratio_of_normalisers(mixer, tokens, seed):
    hidden, p = random_layer(mixer, tokens, seed)
    recurrence = mixer.from_input(hidden, p).recurrence
    assert recurrence.gauge == "dsf"
    eigenvalues = recurrence.eigenvalues()
    assert eigenvalues.multiplicity == mixer.state_size * mixer.head_width
    nu = scores(mixer, hidden, p).sum(-1).transpose(1, 2)
    found = eigenvalues.modulus.squeeze(-1)
    torch.testing.assert_close(found[:, 1:], nu[:, :-1] / nu[:, 1:], rtol=1e-12, atol=0)
    assert bool((found[:, 0] == 0).all())  # nothing was read before
    assert recurrence.starts.sum(1).tolist() == [1, 1]


def test_a_query_that_meets_no_key_reads_nothing_and_forgets_nothing():
    mixer = LinearAttention(2, 1, 2, 2, feature_map="relu")
    # Token by token along one of two axes: 0 and 3 meet no key, 4 meets that of 0.
    key = torch.tensor([[0.0, 1], [1, 0], [1, 0], [2, 0], [1, 0]]).double()[None, :, None]
    query = torch.tensor([[1.0, 0], [2, 0], [1, 0], [0, 0], [0, 3]]).double()[None, :, None]
    value = torch.arange(10, dtype=torch.float64).view(1, 5, 1, 2) + 1
    recurrence = mixer.observed(key, query)
    y = recurrence.run(value)[0, :, 0]
    assert y[0].tolist() == y[3].tolist() == [0, 0]
    assert_within(y[4], value[0, 0, 0], 1e-15)
    # nu: none, 2, 2, none, 3; the gauge of its neighbour where there is none.
    nu = recurrence.log_normaliser.exp().flatten()
    assert_within(nu, torch.tensor([2, 2, 2, 2, 3]).double(), 1e-15)
    again = recurrence.in_gauge("unnormalised").run(value)[0, :, 0]
    assert_within(again, y, 1e-15)


def test_a_sequence_that_reads_nothing_is_all_zero():
    recurrence = LinearAttention(2, 1, 2, 2, feature_map="relu").observed(
        torch.zeros(1, 4, 1, 2), torch.zeros(1, 4, 1, 2)
    )
    assert bool((recurrence.run(torch.ones(1, 4, 1, 2)) == 0).all())


def test_what_cannot_be_read_says_so():
    with pytest.raises(UsageError, match="may be negative"):
        LinearAttention(2, 1, 2, 2, feature_map="identity")
    for mixer in (LinearAttention(2, 1, 2, 2), NormAttention(2, 1, 2, 2)):
        assert mixer.weights_mode is None
        with pytest.raises(UnsupportedError, match="without tokens"):
            mixer.from_weights({})
