"""Trained models in memory, and what is seen of them."""

from __future__ import annotations

import json

import torch

import spectrakit as sk
from spectrakit.architectures.transformers_model import quiet_transformers
from tests.conftest import CHECKPOINTS

TOKENS = torch.arange(48).view(2, 24) + 40


def loaded(name="tiny-mamba", **kwargs):
    from transformers import AutoModelForCausalLM

    with quiet_transformers():
        return AutoModelForCausalLM.from_pretrained(CHECKPOINTS / name, **kwargs)


def spectrum(model):
    return sk.analyze(model).table("spectrum").drop_columns(["model_id", "revision"])


def observed(model):
    """The outputs of every layer's mixer, as one pass shows them."""
    seen = []
    model.load().run(TOKENS, lambda _, observation: seen.append(observation.outputs.clone()))
    return seen


def assert_observes(model, other):
    for own, theirs in zip(observed(model), observed(other), strict=True):
        assert torch.equal(own, theirs)


def config_of(name):
    return json.loads((CHECKPOINTS / name / "config.json").read_text())
