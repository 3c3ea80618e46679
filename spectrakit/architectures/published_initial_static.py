"""What layers of the S4 line start training from, as their own code draws them, at a file's shapes.

    step        log-uniform in [.001, .1] (`dt_min` and `dt_max` of the config)
    S4          HiPPO-LegS as diagonal plus low rank (`spectrakit.dynamics.legs`), in each system
    S4D         `init` of the config: diag-lin, which the minimal file always has, diag-inv,
                diag-quad, diag-real, diag-legs, or diag, half of the systems diag-inv and half
                diag-lin; B = 1, of diag-legs LegS's (state-spaces/s4)
    DSS         -1/2 + i w, w > 0 the frequencies of LegS for twice the states (ag1988/dss)
    S5          LegS's -1/2 + i w in `blocks` blocks, 8 where they fit; B = V^* B', C = C' V with B'
                and C' Lecun-normal (lindermanlab/S5)
    LRU         |lambda|^2 uniform in [r_min^2, r_max^2], its phase in [0, max_phase], 0, 1 and 6.28
                unless the config says otherwise; gamma = sqrt(1 - |lambda|^2), B and C normal with
                variances 1 / (2 inputs) and 1 / states (NicolasZucchet/minimal-LRU)
    C, D        normal; complex C of S4 and S4D with E |C|^2 = 1, W of DSS with 2

The phases of LegS's eigenvectors are free, and chosen so that P and B are real: the library's bound
on Im B then binds nowhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import
from spectrakit.architectures.base import config_value
from spectrakit.architectures.published_initial import (
    Place,
    PublishedInitial,
    Steps,
    published_initial,
)
from spectrakit.dynamics.discretize import with_conjugates
from spectrakit.dynamics.eigenvalue_sets import EIGENVALUE_SETS
from spectrakit.dynamics.legs import legs_modes
from spectrakit.errors import UsageError
from spectrakit.mixers import DSS, LRU, S4, S4D, S5
from spectrakit.mixers.layers import in_float64
from spectrakit.mixers.packed_complex import PackedLRU, PackedS5
from spectrakit.wording import given

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from spectrakit.architectures.base import Configured
    from spectrakit.architectures.initial_weights import Draw
    from spectrakit.mixers.s4_parameters import S4Parameters
else:
    torch = lazy_import("torch")

_S4_SOURCE = "github.com/state-spaces/s4"
#: Standard deviation of both parts of a complex number with E |c|^2 = 1.
_HALF = 0.5**0.5
#: `init` of S4D, and the set of eigenvalues that it is.
_DIAGONAL = {
    "diag-lin": "s4d-lin",
    "diag-inv": "s4d-inv",
    "diag-quad": "s4d-quad",
    "diag-real": "s4d-real",
}


@published_initial.register(S4)
def _(mixer: S4, place: Place) -> PublishedInitial:
    stored, steps = mixer.parameters, Steps.of(place.config, floor=0)
    _init_of(place.config, ("legs",))

    def draw(draws: Mapping[str, Draw]) -> Mapping[str, Tensor]:
        generator, low_rank = _legs_half(stored.stored_states)
        rank = draws["P"].shape[0]
        padded = torch.cat([low_rank[None], low_rank.new_zeros(rank - 1, len(low_rank))])
        drawn = {
            **_s4_shared(stored, draws, steps, generator),
            "P": _pairs(padded.unsqueeze(1), draws["P"], stored.systems),
            "B": _pairs(2**0.5 * low_rank, draws["B"], stored.systems),
        }
        if mixer.kernel_length is None:
            return drawn | {"kernel_length": torch.zeros((), dtype=torch.int64)}
        return drawn | {"C": _truncated(mixer, drawn)} if mixer.kernel_length else drawn

    return PublishedInitial(f"HiPPO-LegS as diagonal plus low rank; {steps}", _S4_SOURCE, draw)


def _truncated(mixer: S4, drawn: Mapping[str, Tensor]) -> Tensor:
    """C~ = C (I - A_bar^L), as files store it once the layer has computed a kernel of length L."""
    stored = mixer.parameters
    state = replace(mixer, kernel_length=0).from_weights(drawn).operator.dense()
    carried = torch.linalg.matrix_power(state, mixer.kernel_length or 0)
    whole = with_conjugates(stored.output(in_float64(drawn)))  # (c, H, N)
    kept = whole - (whole.unsqueeze(-2) @ carried).squeeze(-2)
    half = torch.view_as_real(kept[..., : stored.stored_states])
    return half.reshape(drawn["C"].shape).float()


@published_initial.register(S4D)
def _(mixer: S4D, place: Place) -> PublishedInitial:
    stored, steps = mixer.parameters, Steps.of(place.config, floor=0)
    names = ("diag-real",) if stored.is_real else (*_DIAGONAL, "diag-legs", "legs", "diag")
    usual = "diag-real" if stored.is_real else "diag-lin"
    init = _init_of(place.config, names, usual) if "B" in stored.stored_shapes else usual
    if init == "diag" and stored.systems % 2:
        message = f"{stored.systems} systems of {place.config.model_id} do not make two halves"
        raise UsageError(message, hint=given(config={"init": "diag-lin"}))

    def draw(draws: Mapping[str, Draw]) -> Mapping[str, Tensor]:
        key = None
        if init == "diag":
            halves = [_diagonal(name, stored) for name in ("diag-inv", "diag-lin")]
            generator = torch.cat([half.expand(stored.systems // 2, -1) for half in halves])
        elif init.endswith("legs"):
            generator, low_rank = _legs_half(stored.stored_states)
            key = 2**0.5 * low_rank
        else:
            generator = _diagonal(init, stored)
        drawn = _s4_shared(stored, draws, steps, generator)
        if "B" in draws:
            key = torch.ones(stored.stored_states) if key is None else key
            drawn["B"] = _pairs(key, draws["B"], stored.systems, real=stored.is_real)
        return drawn

    return PublishedInitial(f"A of {init}; {steps}", _S4_SOURCE, draw)


def _init_of(config: Configured, known: Sequence[str], usual: str | None = None) -> str:
    """`init` of the config, or `measure` as it was called. Raises UsageError for an unknown one."""
    name = "measure" if config.config.get("init") is None else "init"
    init: str = config_value(config, name, str, usual or known[0])
    if init not in known:
        message = f"{config.model_id}: how {name} = {init!r} is drawn is not known here"
        raise UsageError(message, hint=f"{name} is {' or '.join(known)}")
    return init


def _diagonal(init: str, stored: S4Parameters) -> Tensor:
    """A (M,), complex, with Im A >= 0."""
    size = stored.state_size
    made = EIGENVALUE_SETS[_DIAGONAL[init]].make(size, torch.Generator())
    return made[: stored.stored_states].to(torch.complex128)


def _legs_half(states: int) -> tuple[Tensor, Tensor]:
    """Of LegS with 2 M states the diagonal (M,), Im < 0, and P (M,), which is real."""
    frequency, vectors = legs_modes(2 * states)
    root = (torch.arange(2 * states, dtype=torch.float64) + 0.5).sqrt().to(vectors)
    low_rank = (vectors.mH @ root).real
    generator = torch.complex(torch.full_like(frequency, -0.5), frequency)
    return generator[:states], low_rank[:states]


def _s4_shared(
    stored: S4Parameters, draws: Mapping[str, Draw], steps: Steps, generator: Tensor
) -> dict[str, Tensor]:
    """What S4 and S4D have in common; generator: A, (M,) or (S, M), of whichever sign."""
    drawn = {
        "A_real": stored.stored_real(-generator.real).float().expand(draws["A_real"].shape).clone(),
        "step": stored.stored_step(steps.logarithm(draws["step"]).double().exp()).float(),
        "C": draws["C"].normal(_HALF),
    }
    if "A_imag" in draws:
        imaginary = stored.stored_imaginary(generator.imag).float()
        drawn["A_imag"] = imaginary.expand(draws["A_imag"].shape).clone()
    if "D" in draws:
        drawn["D"] = draws["D"].normal(1)
    return drawn


def _pairs(values: Tensor, draw: Draw, systems: int, *, real: bool = False) -> Tensor:
    """(..., M) for each of the S systems, in the file's shape; complex as pairs of floats."""
    tiled = values.expand(*values.shape[:-2], systems, values.shape[-1])
    stored = tiled if real else torch.view_as_real(tiled.to(torch.complex128))
    return stored.float().reshape(draw.shape).clone()


@published_initial.register(DSS)
def _(mixer: DSS, place: Place) -> PublishedInitial:
    steps = Steps.of(place.config, floor=0)

    def draw(draws: Mapping[str, Draw]) -> Mapping[str, Tensor]:
        generator, _ = _legs_half(mixer.state_size)
        real, imaginary = generator.real.float(), -generator.imag.float()
        step = steps.logarithm(draws["log_dt"])
        if mixer.separate_steps:  # which start the same
            step = step[:, :1].expand(-1, 2).clone()
        every = {
            "Lambda": torch.stack([real, imaginary], -1),
            "Lambda_log_neg_re": (-real).log(),
            "Lambda_im": imaginary,
            "Lambda_log_im": imaginary.log(),
            "log_dt": step,
            "W": draws["W"].normal(1),
        }
        if "D" in draws:
            every["D"] = draws["D"].normal(1)
        return {role: every[role] for role in draws}

    says = f"A of -1/2 + i times the frequencies of HiPPO-LegS; {steps}"
    return PublishedInitial(says, "github.com/ag1988/dss", draw)


@published_initial.register(PackedS5)
@published_initial.register(PackedLRU)
def _(mixer: PackedS5 | PackedLRU, place: Place) -> None:
    """Not known: their packages draw otherwise than the code of the papers."""


@published_initial.register(S5)
def _(mixer: S5, place: Place) -> PublishedInitial:
    steps = Steps.of(place.config, floor=0)
    blocks = _blocks(mixer, place.config)
    stored = mixer.stored_states // blocks
    size = mixer.state_size // blocks

    def draw(draws: Mapping[str, Draw]) -> Mapping[str, Tensor]:
        frequency, vectors = legs_modes(size)
        frequency, vectors = frequency[:stored].float().repeat(blocks), vectors[:, :stored]
        drawn = {
            "Lambda_re": torch.full_like(frequency, -0.5),
            "Lambda_im": frequency,
            "log_step": steps.logarithm(draws["log_step"]),
        }
        if mixer.bidirectional:
            return drawn
        key = _lecun(draws["B"], (blocks, size, mixer.model_width), mixer.state_size)
        query = _lecun(draws["C"], (mixer.model_width, blocks, size, 2), mixer.state_size)
        key = (vectors.mH @ key.to(vectors)).flatten(0, 1)
        query = (torch.view_as_complex(query) @ vectors).flatten(1)
        return drawn | {
            "B": torch.view_as_real(key.resolve_conj()).float(),
            "C": torch.view_as_real(query.resolve_conj()).float(),
            "D": draws["D"].normal(1),
        }

    says = f"A of HiPPO-LegS's normal part in {blocks} blocks; {steps}"
    return PublishedInitial(says, "github.com/lindermanlab/S5", draw)


def _blocks(mixer: S5, config: Configured) -> int:
    """Raises UsageError where the states do not make so many blocks."""
    usual = 1 if mixer.stored_states % 8 else 8
    blocks: int = config_value(config, "blocks", int, usual)
    if blocks < 1 or mixer.stored_states % blocks:
        message = f"{config.model_id}: {mixer.stored_states} states do not make {blocks} blocks"
        raise UsageError(message, hint=given(config={"blocks": 1}))
    return blocks


def _lecun(draw: Draw, shape: tuple[int, ...], inputs: int) -> Tensor:
    """JAX's Lecun normal: of variance 1 / inputs, cut off at two standard deviations."""
    std = inputs**-0.5 / 0.87962566103423978  # which cutting off makes smaller
    drawn = torch.empty(shape, dtype=torch.float64)
    generator = draw.generator
    return torch.nn.init.trunc_normal_(drawn, 0, std, -2 * std, 2 * std, generator=generator)


@published_initial.register(LRU)
def _(mixer: LRU, place: Place) -> PublishedInitial:
    usual = {"r_min": 0.0, "r_max": 1.0, "max_phase": 6.28}
    low, high, phase = (
        float(config_value(place.config, name, float, value)) for name, value in usual.items()
    )
    if not (0 <= low <= high <= 1 and low < 1 and phase > 0):
        message = f"{place.config.model_id}: a ring from {low} to {high} is no initial value"
        raise UsageError(message, hint=given(config={"r_min": 0.9, "r_max": 0.999}))

    def draw(draws: Mapping[str, Draw]) -> Mapping[str, Tensor]:
        tiny = torch.finfo(torch.float32).tiny
        square = draws["nu_log"].uniform(low**2, high**2).double().clamp(tiny, 1 - 2**-24)
        angle = draws["theta_log"].uniform(0, phase).clamp(min=tiny)
        spread = {
            "B_re": (2 * mixer.model_width) ** -0.5,
            "B_im": (2 * mixer.model_width) ** -0.5,
            "C_re": mixer.state_size**-0.5,
            "C_im": mixer.state_size**-0.5,
            "D": 1.0,
        }
        return {
            "nu_log": (-0.5 * square.log()).log().float(),
            "theta_log": angle.log(),
            "gamma_log": (0.5 * torch.log1p(-square)).float(),
            **{role: draws[role].normal(std) for role, std in spread.items()},
        }

    says = f"|lambda|^2 uniform in [{low:g}^2, {high:g}^2], its phase in [0, {phase:g}]"
    return PublishedInitial(says, "github.com/NicolasZucchet/minimal-LRU", draw)
