"""Where transformers' port and the published model differ, the published model is followed."""

from __future__ import annotations

import json
import math

import mpmath
import pytest
import torch
from safetensors.torch import load_file, save_file

import spectrakit as sk
from tests.families import FAMILIES
from tests.families.base import observe

_STEPS = torch.tensor([1e-5, 1e-4, 1e-2, 1e-1], dtype=torch.float64)
_RATES = torch.tensor([1.0, 2.0, 12.0, 16.0])


def saved(name, tmp_path, config=(), **weights):
    """The family `name` with keys of its config changed, and tensors by the end of their names."""
    (family,) = (family for family in FAMILIES if str(family) == name)
    folder = family.write(tmp_path / "model")
    settings = json.loads((folder / "config.json").read_text()) | dict(config)
    settings = {key: value for key, value in settings.items() if value is not ...}
    (folder / "config.json").write_text(json.dumps(settings))
    tensors = load_file(folder / "model.safetensors")
    for tensor in tensors:
        for end, change in weights.items():
            if tensor.endswith(f".{end}"):
                tensors[tensor] = change(tensors[tensor]).contiguous()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return str(folder), family


def steps(name, tmp_path, config):
    """A model whose step is that of its bias on every token: one head in two below 0.001."""
    heads = {"nemotron_h": 4, "zamba2": 8}[name]
    step = _STEPS.repeat(heads // 4)

    def without_tokens(projection):
        return torch.cat([projection[:-heads], 0 * projection[-heads:]])

    return saved(
        name,
        tmp_path,
        config,
        A_log=lambda _: _RATES.log().repeat(heads // 4),
        dt_bias=lambda _: (step + torch.log(-torch.expm1(-step))).float(),
        **{"in_proj.weight": without_tokens},
    )


_PUBLISHED = {"time_step_limit": [0.0, math.inf], "time_step_min": 0.001}
_LEFT_OUT = {"time_step_limit": ..., "time_step_min": 0.5}


@pytest.mark.parametrize(
    ("name", "config", "limit"),
    [
        ("nemotron_h", _PUBLISHED, (0.0, math.inf)),
        ("nemotron_h", _LEFT_OUT, (0.0, math.inf)),
        ("nemotron_h", {"time_step_limit": [0.0, 0.05]}, (0.0, 0.05)),
        ("zamba2", _LEFT_OUT, (0.0, math.inf)),
        ("zamba2", {"time_step_limit": None, "time_step_min": 0.001}, (0.0, math.inf)),
        ("zamba2", {"time_step_limit": [0.002, 0.05]}, (0.002, 0.05)),
    ],
)
def test_steps_are_clamped_as_the_published_model_s(name, config, limit, tmp_path):
    folder, family = steps(name, tmp_path, config)
    expected = 1 / (_RATES.double() * _STEPS.clamp(*limit))
    with sk.open_checkpoint(folder) as model:
        mamba = [layer for layer in model.layers if layer.kind == "mamba2"]
        for layer in mamba:
            # The bias is stored in float32, whose digits a step of 1e-5 has no more of.
            found = model.recurrence(layer.index).eigenvalues().timescale.flatten()
            torch.testing.assert_close(found, expected.repeat(len(found) // 4), rtol=1e-5, atol=0)
        seen = [obs for layer, obs in observe(model, family.token_ids()) if layer in mamba]
    assert len(seen) == len(mamba)
    for observation in seen:
        found = -1 / observation.recurrence.eigenvalues().log_modulus.double().flatten(0, 1)
        torch.testing.assert_close(
            found.flatten(1), expected.repeat(found.shape[1] // 4).expand(len(found), -1),
            rtol=1e-4, atol=0,
        )  # fmt: skip


@pytest.mark.parametrize("bound", [-5.0, -1, None])
def test_kimi_linear_s_gate_keeps_its_bound(bound, tmp_path):
    section = {"num_heads": 4, "head_dim": 8, "gate_lower_bound": bound}
    folder, family = saved("kimi_linear", tmp_path, {"linear_attn_config": section})
    tensors = load_file(f"{folder}/model.safetensors")
    (rate,) = (t.flatten() for name, t in tensors.items() if name.endswith("A_log"))
    (bias,) = (t.view(4, 8) for name, t in tensors.items() if name.endswith("dt_bias"))
    with sk.open_checkpoint(folder) as model:
        found = model.recurrence(0).eigenvalues().log_modulus.reshape(4, 8)
        (observation,) = (
            obs for layer, obs in observe(model, family.token_ids()) if layer.kind == "kimi_delta"
        )
    with mpmath.workdps(30):
        for head in range(4):
            for channel in range(8):
                a, b = mpmath.exp(float(rate[head])), float(bias[head, channel])
                exact = (
                    -a * mpmath.log1p(mpmath.exp(b))
                    if bound is None
                    else bound / (1 + mpmath.exp(-a * b))
                )
                assert float(found[head, channel]) == pytest.approx(float(exact), rel=1e-12)
    assert (observation.output() - observation.outputs).abs().max() < 1e-5
    if bound is not None:
        assert (observation.recurrence.operator.log_decay > bound - 1e-6).all()


@pytest.mark.parametrize("bound", [5.0, 0, "low", True, [-5.0]])
def test_a_bound_that_is_none(bound, tmp_path):
    section = {"num_heads": 4, "head_dim": 8, "gate_lower_bound": bound}
    folder, _ = saved("kimi_linear", tmp_path, {"linear_attn_config": section})
    message = r"linear_attn_config.gate_lower_bound is .*, not a negative number"
    with (
        sk.open_checkpoint(folder) as model,
        pytest.raises(sk.errors.MalformedError, match=message),
    ):
        model.layers  # noqa: B018
