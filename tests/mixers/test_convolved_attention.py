"""mamba_ssm's attention written out, against every pair of tokens in float64."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spectrakit.mixers.convolved_attention import ConvolvedAttention, Rotary


@st.composite
def configurations(draw):
    groups, pairs = draw(st.integers(1, 2)), draw(st.integers(1, 3))
    interleaved = draw(st.booleans())
    rotary = Rotary(2 * pairs, draw(st.sampled_from([100.0, 10_000.0])), interleaved)
    return ConvolvedAttention(
        heads=groups * draw(st.integers(1, 3)),
        model_width=draw(st.integers(1, 5)),
        groups=groups,
        head_width=2 * pairs + draw(st.integers(0, 2)),
        convolution_width=draw(st.sampled_from([None, 1, 4])),
        rotary=draw(st.sampled_from([None, rotary])),
        scale=draw(st.sampled_from([None, 0.3])),
        projection_bias=draw(st.booleans()),
        output_bias=draw(st.booleans()),
    )


def random_parameters(mixer, seed):
    torch.manual_seed(seed)
    return {
        role: torch.randn(shape, dtype=torch.float64) / math.sqrt(shape[-1])
        for role, shape in mixer.shapes().items()
    }


def turned(vector, rotary, position):
    """One head's vector, pair by pair as a complex number times exp(i angle)."""
    result = vector.clone()
    half = rotary.width // 2
    for i in range(half):
        one, other = (2 * i, 2 * i + 1) if rotary.interleaved else (i, i + half)
        angle = position * rotary.base ** (-2 * i / rotary.width)
        z = complex(vector[one], vector[other]) * complex(math.cos(angle), math.sin(angle))
        result[one], result[other] = z.real, z.imag
    return result


def naive_attention(mixer, hidden, p):
    """One batch item, token and head after the other: hidden (B, T, E) -> (B, T, E)."""
    projected = hidden @ p["input_projection"].T + p.get("input_projection_bias", 0)
    if mixer.convolution_width is not None:
        convolved = p["convolution_bias"].expand_as(projected).clone()
        for lag in range(min(mixer.convolution_width, hidden.shape[1])):
            kept = projected[:, : hidden.shape[1] - lag]
            convolved[:, lag:] += kept * p["convolution"][:, 0, mixer.convolution_width - 1 - lag]
        projected = convolved
    heads, groups, width = mixer.heads, mixer.groups, mixer.head_width
    vectors = projected.unflatten(-1, (heads + 2 * groups, width)).clone()
    if mixer.rotary is not None:
        for item in vectors:
            for position, token in enumerate(item):
                for head in range(heads + groups):  # queries and keys, not values
                    token[head] = turned(token[head], mixer.rotary, position)
    scale = 1 / math.sqrt(width) if mixer.scale is None else mixer.scale
    output = hidden.new_zeros(*hidden.shape[:2], heads, width)
    for head in range(heads):
        group = head // (heads // groups)
        places = (head, heads + group, heads + groups + group)
        q, k, v = (vectors[:, :, place] for place in places)
        for t in range(hidden.shape[1]):
            scores = torch.einsum("bk,bsk->bs", q[:, t], k[:, : t + 1]) * scale
            output[:, t, head] = torch.einsum("bs,bsk->bk", scores.softmax(-1), v[:, : t + 1])
    return output.flatten(-2) @ p["output_projection"].T + p.get("output_projection_bias", 0)


@given(mixer=configurations(), tokens=st.integers(1, 9), seed=st.integers(0, 2**16))
def test_the_layer_and_its_recurrence_are_all_pairs_written_out(mixer, tokens, seed):
    p = random_parameters(mixer, seed)
    hidden = torch.randn(2, tokens, mixer.model_width, dtype=torch.float64)
    observation = mixer.from_input(hidden, p)
    expected = naive_attention(mixer, hidden, p)
    torch.testing.assert_close(observation.outputs, expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(observation.output(), expected, rtol=1e-10, atol=1e-12)


def test_far_positions_keep_their_angle_in_half_precision():
    """Angles are computed in float32: bfloat16 cannot tell position 1000 from 1003."""
    x = torch.ones(1, 1004, 1, 2, dtype=torch.bfloat16)
    found = Rotary(2)(x)[0, 1003, 0].float()
    exact = turned(torch.ones(2, dtype=torch.float64), Rotary(2), 1003).float()
    torch.testing.assert_close(found, exact, rtol=0, atol=2e-2)


@pytest.mark.parametrize("convolution", [None, 4])
def test_only_what_the_layer_has_is_asked_for(convolution):
    mixer = ConvolvedAttention(
        heads=4, model_width=8, groups=2, head_width=3, convolution_width=convolution
    )
    shapes = mixer.shapes()
    assert shapes["input_projection"] == (24, 8)
    assert shapes["output_projection"] == (8, 12)
    assert ("convolution" in shapes) == (convolution is not None)
    assert mixer.weights_roles == ()
