"""What kinds of layers start training from, as they were published, by role.

A library of models may start its layers elsewhere: the classes of Bamba, Falcon-H1, Granite 4 and
Qwen3-Next in transformers start from steps of 1.31, that of Jamba from .69, at which a layer
forgets within a token; no such model was trained from there. What a publication does not determine
(projections) stays as the class draws it.

    Mamba           step log-uniform in [.001, .1]; A = 1 ... N; D = 1; W_s U(-b, b), b = rank^-1/2
    Mamba-2         step the same, of a head; A U(1, 16); D = 1
    both            convolution and its bias U(-b, b), b = width^-1/2
                    (state-spaces/mamba, mamba_ssm/modules; Megatron-LM and Zamba2 have the same)
    Gated DeltaNet  step as Mamba-2's; A U(0, 16) (NVlabs/GatedDeltaNet; flash-linear-attention)
    Kimi delta      step the same, of a channel; A U(1, 16), 1 where the decay is bounded
                    (flash-linear-attention, fla/layers/kda.py)
    RG-LRU          a^2 uniform in [.9^2, .999^2], biases of the gate 0 (google-deepmind/
                    recurrentgemma)
    RWKV-4          time_decay -5 + 8 t^(.7 + 1.3 f), bonus log .3 + ((n + 1) mod 3 - 1) / 2
    RWKV-5.2, 6     time_decay -6 + 5 t^(.7 + 1.3 f)   (BlinkDL/RWKV-LM; 7: `initial_rwkv7`)
    mLSTM           bias of the forget gate 3 ... 6 over the heads, of a fused input gate -10
                    (NX-AI/xlstm; xLSTM 7B, arXiv 2503.13427)

with t the channel and f the layer, from 0 to 1. Bounds of steps and rates are the config's where it
has them. The S4 line is in `published_initial_static`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import singledispatch
from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import
from spectrakit.architectures.base import config_value
from spectrakit.errors import MalformedError
from spectrakit.mixers import (
    MLSTM,
    RGLRU,
    RWKV4,
    RWKV5,
    RWKV6,
    RWKV7,
    GatedDeltaNet,
    KimiDelta,
    Mamba,
    Mamba2,
)
from spectrakit.mixers.initial_rwkv7 import InitialRWKV7

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from spectrakit.architectures.base import Configured
    from spectrakit.architectures.initial_weights import Draw
else:
    torch = lazy_import("torch")


@dataclass(frozen=True)
class PublishedInitial:
    """What a kind of layer starts from.

    says: in words. source: where that is published. draw: makes parameters from the `Draw`s of all
    that the layer has, by role; those that the publication does not determine are not among them.
    """

    says: str
    source: str
    draw: Callable[[Mapping[str, Draw]], Mapping[str, Tensor]]


@dataclass(frozen=True)
class Place:
    """Where a layer is: in a model of that config, the number `index` of `layers` of its kind."""

    config: Configured
    index: int = 0
    layers: int = 1

    @property
    def depth(self) -> float:
        """0 in the first layer, 1 in the last."""
        return self.index / max(self.layers - 1, 1)


@singledispatch
def published_initial(mixer: object, place: Place) -> PublishedInitial | None:  # noqa: ARG001
    """What a layer with this mixer starts from; None where that is not known here.

    A plugin registers its mixers with `@published_initial.register(TheMixer)`.

    Raises MalformedError where the config's bounds have no sense.
    """
    return None


@dataclass(frozen=True)
class Steps:
    """Steps that are log-uniform between two bounds, and `floor` at least."""

    low: float
    high: float
    floor: float = 0.0

    @classmethod
    def of(cls, config: Configured, floor: float = 1e-4) -> Steps:
        """Those of a config, under whatever names it has them; floor: where it has none.

        Raises MalformedError where they are no interval.
        """
        low, high = _first_of(config, _LOW, 1e-3), _first_of(config, _HIGH, 0.1)
        if not 0 < low <= high < math.inf:
            message = f"{config.model_id}: steps from {low} to {high} are no initial values"
            hint = f"{_name_of(config, _LOW)} and {_name_of(config, _HIGH)} of the config"
            raise MalformedError(message, hint=hint)
        return cls(low, high, _first_of(config, _FLOOR, floor))

    def bias(self, draw: Draw) -> Tensor:
        """The bias at which softplus gives them."""
        return draw.step_bias(self.low, self.high, self.floor)

    def logarithm(self, draw: Draw) -> Tensor:
        """Their logarithm."""
        return draw.uniform(math.log(self.low), math.log(self.high))

    def __str__(self) -> str:
        text = f"steps log-uniform in [{self.low:g}, {self.high:g}]"
        return f"{text}, {self.floor:g} at least" if self.floor > self.low else text


#: What configs call the bounds of a step: transformers, older Nemotron-H, OLMo, the layers' own.
_LOW = ("time_step_min", "mamba_dt_min", "linear_dt_min", "dt_min")
_HIGH = ("time_step_max", "mamba_dt_max", "linear_dt_max", "dt_max")
_FLOOR = ("time_step_floor", "mamba_dt_init_floor", "linear_dt_init_floor", "dt_init_floor")


def _name_of(config: Configured, names: tuple[str, ...]) -> str:
    return next((name for name in names if name in config.config), names[-1])


def _first_of(config: Configured, names: tuple[str, ...], default: float) -> float:
    return float(config_value(config, _name_of(config, names), float, default))


def mamba2_rates(config: Configured) -> tuple[float, float]:
    """Between which A of Mamba-2 is drawn. Raises MalformedError where that is no interval."""
    rates = config_value(config, "A_init_range", list, [1, 16])
    if not (len(rates) == 2 and 0 < rates[0] <= rates[1]):
        message = f"{config.model_id}: rates {rates} are no initial values"
        raise MalformedError(message, hint="A_init_range of the config")
    return float(rates[0]), float(rates[1])


def log_rates(draw: Draw, low: float, high: float) -> Tensor:
    """log A of A uniform in [low, high], never the logarithm of nothing."""
    return draw.uniform(low, high).clamp(min=torch.finfo(torch.float32).tiny).log()


def natural_log_rates(draw: Draw) -> Tensor:
    """log A of A = 1 ... N along the last axis."""
    return torch.arange(1.0, draw.shape[-1] + 1).log().expand(draw.shape).clone()


def step_projection(draw: Draw, config: Configured) -> Tensor:
    """Mamba's W_s, (..., rank): uniform up to scale rank^-1/2, or that constant."""
    scale = _first_of(config, ("time_step_scale", "dt_scale"), 1.0)
    bound = scale / math.sqrt(draw.shape[-1])
    name = _name_of(config, ("time_step_init_scheme", "dt_init"))
    if config_value(config, name, str, "random") == "constant":
        return draw.constant(bound)
    return draw.uniform(-bound, bound)


def convolution(draw: Draw, config: Configured) -> Tensor:
    """Weights (D, 1, width) of a depthwise convolution, as torch's own layer starts from them."""
    bound = draw.shape[-1] ** -0.5
    if config.config.get("conv_init") is not None:
        bound = config_value(config, "conv_init", float)
    return draw.uniform(-bound, bound)


def _convolution(draws: Mapping[str, Draw], config: Configured) -> dict[str, Tensor]:
    drawn = {"convolution": convolution(draws["convolution"], config)}
    if "convolution_bias" in draws:
        bound = draws["convolution"].shape[-1] ** -0.5
        drawn["convolution_bias"] = draws["convolution_bias"].uniform(-bound, bound)
    return drawn


_MAMBA_SOURCE = "github.com/state-spaces/mamba"


@published_initial.register(Mamba)
def _(mixer: Mamba, place: Place) -> PublishedInitial:
    steps = Steps.of(place.config)

    def draw(draws: Mapping[str, Draw]) -> Mapping[str, Tensor]:
        return {
            "A_log": natural_log_rates(draws["A_log"]),
            "D": draws["D"].constant(1),
            "step_bias": steps.bias(draws["step_bias"]),
            "step_projection": step_projection(draws["step_projection"], place.config),
            **_convolution(draws, place.config),
        }

    return PublishedInitial(f"{steps}; A = 1 ... {mixer.state_size}", _MAMBA_SOURCE, draw)


@published_initial.register(Mamba2)
def _(mixer: Mamba2, place: Place) -> PublishedInitial:  # noqa: ARG001
    steps, (low, high) = Steps.of(place.config), mamba2_rates(place.config)

    def draw(draws: Mapping[str, Draw]) -> Mapping[str, Tensor]:
        return {
            "A_log": log_rates(draws["A_log"], low, high),
            "D": draws["D"].constant(1),
            "step_bias": steps.bias(draws["step_bias"]),
            **_convolution(draws, place.config),
        }

    return PublishedInitial(f"{steps}; A uniform in [{low:g}, {high:g}]", _MAMBA_SOURCE, draw)


@published_initial.register(GatedDeltaNet)
def _(mixer: GatedDeltaNet, place: Place) -> PublishedInitial:  # noqa: ARG001
    low = _first_of(place.config, ("linear_a_log_min",), 0.0)
    high = _first_of(place.config, ("linear_a_log_max",), 16.0)
    return _delta_rule(place, low, high, "github.com/NVlabs/GatedDeltaNet")


@published_initial.register(KimiDelta)
def _(mixer: KimiDelta, place: Place) -> PublishedInitial:
    low, high = (1.0, 16.0) if mixer.lower_bound is None else (1.0, 1.0)
    return _delta_rule(place, low, high, "github.com/fla-org/flash-linear-attention")


def _delta_rule(place: Place, low: float, high: float, source: str) -> PublishedInitial:
    steps = Steps.of(place.config)

    def draw(draws: Mapping[str, Draw]) -> Mapping[str, Tensor]:
        return {
            "A_log": log_rates(draws["A_log"], low, high),
            "step_bias": steps.bias(draws["step_bias"]),
        }

    rates = f"A uniform in [{low:g}, {high:g}]" if low < high else f"A = {low:g}"
    return PublishedInitial(f"{steps}; {rates}", source, draw)


@published_initial.register(RGLRU)
def _(mixer: RGLRU, place: Place) -> PublishedInitial:  # noqa: ARG001
    low, high = 0.9, 0.999

    def draw(draws: Mapping[str, Draw]) -> Mapping[str, Tensor]:
        square = draws["Lambda"].uniform(low**2, high**2).double()
        # softplus(Lambda) = -log a
        root = torch.expm1(-0.5 * square.log()).log().float()
        return {
            "Lambda": root,
            "recurrence_bias": draws["recurrence_bias"].constant(0),
            "input_bias": draws["input_bias"].constant(0),
        }

    says = f"a^2 uniform in [{low:g}^2, {high:g}^2], biases of the gates 0"
    return PublishedInitial(says, "github.com/google-deepmind/recurrentgemma", draw)


_RWKV_SOURCE = "github.com/BlinkDL/RWKV-LM"


def _rwkv_decay(draw: Draw, place: Place, first: float, over: float) -> Tensor:
    """First + over t^(0.7 + 1.3 f), t from 0 to 1 over the channels."""
    channels = math.prod(draw.shape)
    along = torch.arange(channels, dtype=torch.float64) / max(channels - 1, 1)
    decay = first + over * along ** (0.7 + 1.3 * place.depth)
    return decay.float().view(draw.shape)


@published_initial.register(RWKV4)
def _(mixer: RWKV4, place: Place) -> PublishedInitial:  # noqa: ARG001
    def draw(draws: Mapping[str, Draw]) -> Mapping[str, Tensor]:
        drawn = {"time_decay": _rwkv_decay(draws["time_decay"], place, -5, 8)}
        if "bonus" in draws:
            number = torch.arange(draws["bonus"].shape[0])
            drawn["bonus"] = math.log(0.3) + 0.5 * ((number + 1) % 3 - 1.0)
        return drawn

    return PublishedInitial("log decay rates from -5 to 3, by layer", _RWKV_SOURCE, draw)


@published_initial.register(RWKV5)
def _(mixer: RWKV5, place: Place) -> PublishedInitial | None:
    # The first versions, with one decay for a head, take from their training's options.
    return None if mixer.shared else _rwkv5(place)


@published_initial.register(RWKV6)
def _(mixer: RWKV6, place: Place) -> PublishedInitial:  # noqa: ARG001
    return _rwkv5(place)


def _rwkv5(place: Place) -> PublishedInitial:
    def draw(draws: Mapping[str, Draw]) -> Mapping[str, Tensor]:
        return {"time_decay": _rwkv_decay(draws["time_decay"], place, -6, 5)}

    return PublishedInitial("log decay rates from -6 to -1, by layer", _RWKV_SOURCE, draw)


@published_initial.register(RWKV7)
def _(mixer: RWKV7, place: Place) -> PublishedInitial:
    def draw(draws: Mapping[str, Draw]) -> Mapping[str, Tensor]:
        scheme = InitialRWKV7(place.index, place.layers, mixer.state_size, rank_axis=0)
        return {"decay_bias": scheme.time_mixing("decay_bias", draws["decay_bias"])}

    return PublishedInitial("biases of the decay by channel and layer", _RWKV_SOURCE, draw)


@published_initial.register(MLSTM)
def _(mixer: MLSTM, place: Place) -> PublishedInitial:  # noqa: ARG001
    def draw(draws: Mapping[str, Draw]) -> Mapping[str, Tensor]:  # noqa: ARG001
        forget = torch.linspace(3.0, 6.0, mixer.heads)
        enter = torch.full((mixer.heads,), -10.0)
        return {"gate_bias": torch.cat([enter, forget]) if mixer.fused else forget}

    says = "biases of the forget gates evenly spaced in [3, 6] over the heads"
    return PublishedInitial(says, "github.com/NX-AI/xlstm", draw)
