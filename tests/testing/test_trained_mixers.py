"""A plugin's mixer that can be trained: recipes name it, and the kit checks what it computes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

from spectrakit.mixers import LRU
from spectrakit.testing.mixer_checks import MixerBench, is_trained_as_it_is_read
from spectrakit.testing.require import CheckFailed
from spectrakit.training.models import builders
from spectrakit.training.models.layers.static import StaticModule
from tests.training.tiny import trained


class Module(StaticModule):
    def reset_parameters(self):
        for parameter in self.parameters():
            parameter.data.normal_(std=0.3)


class Scaled(Module):
    def forward(self, hidden):
        return 1.001 * super().forward(hidden)


class Detached(Module):
    def forward(self, hidden):
        y = super().forward(hidden)
        return y + (self.D * hidden - (self.D * hidden).detach())


@dataclass(frozen=True)
class Ring(LRU):
    name: ClassVar[str] = "ring"
    module: ClassVar[type] = Module

    @classmethod
    def build(cls, config):
        return cls.module(cls(config.hidden_size, 3))


def bench(module):
    kind = type("Ring", (Ring,), {"module": module})

    class Example:
        mixer = kind(4, 3)
        hidden = torch.zeros(2, 20, 1, 4)

    return MixerBench(Example())


def test_a_module_that_is_what_is_read_passes():
    is_trained_as_it_is_read(bench(Module))


@pytest.mark.parametrize(("module", "what"), [(Scaled, "output"), (Detached, "gradients")])
def test_one_that_is_not_is_told(module, what):
    with pytest.raises(CheckFailed, match=f"{what} of the module"):
        is_trained_as_it_is_read(bench(module))


def test_recipes_may_name_it(tmp_path, monkeypatch):
    monkeypatch.setattr(builders, "_BUILDERS", dict(builders._BUILDERS))
    builders.add(builders.of_plugin("ring", Ring))
    result = trained(tmp_path / "run", mixer={"name": "ring", "state_size": 4},
                     budget={"steps": 3})  # fmt: skip
    assert result.step == 3


def test_the_name_of_one_of_spectrakit_s_is_refused():
    with pytest.raises(ValueError, match="spectrakit's own"):
        builders.add(builders.of_plugin("softmax", Ring))
