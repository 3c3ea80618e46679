"""A training step of one layer, forward and backward, against the ways that others take.

Every comparator computes the same outputs and gradients from the same weights and inputs, which is
checked before anything is timed:

    loop        the recurrence token by token over `unbind(1)`, the usual short form
    numba       the same recurrence compiled, with a backward of its own (the extra `fast`)
    mambapy     the parallel scan of the package mambapy, where it is installed
    transformers  its own MambaMixer, in plain torch
    FFT         S4D's kernel as the minimal file of state-spaces/s4 computes it (`s4d.py`)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec

import numba
import numpy as np
import torch
from torch import Tensor

from benchmarks.checkpoints import Checkpoints
from benchmarks.measure import Finished, Row, in_turns, python, ratio, run_process, timed
from spectrakit._threads import one_thread
from spectrakit.scans.diagonal import diagonal_scan
from spectrakit.scans.selective import selective_scan
from spectrakit.training.models.backbone import model_of
from spectrakit.training.models.config import SpectrakitConfig
from spectrakit.training.tracking.watching import watch

#: A Mamba layer of width 128: channels, states, tokens.
CHANNELS, STATES, TOKENS = 256, 16, 1024
#: An LRU layer: sequences, states, tokens.
BATCH, LRU_STATES, LRU_TOKENS = 4, 128, 4096

Scan = Callable[..., Tensor]


def rows(_: Checkpoints) -> Iterator[Row]:
    yield from mamba_scan()
    yield mamba_memory()
    yield transformers_mixer()
    yield lru_scan()
    yield s4d_kernel()
    yield from tracker()


def step_of(scan: Scan, arguments: Mapping[str, Tensor], weight: Tensor) -> list[Tensor]:
    """Forward and backward of the weighted sum: the output and the gradients of all arguments."""
    y = scan(**arguments)
    return [y, *torch.autograd.grad(y, list(arguments.values()), weight)]


def weight_of(y: Tensor) -> Tensor:
    return torch.linspace(0, 30, y.numel(), dtype=y.dtype).cos().view(y.shape)


def check(
    own: Scan,
    other: Scan,
    arguments: Mapping[str, Tensor],
    weight: Tensor,
    tolerance: float = 1e-4,
) -> None:
    found, wanted = (step_of(scan, arguments, weight) for scan in (own, other))
    for one, two in zip(found, wanted, strict=True):
        assert float((one - two).detach().abs().max() / two.detach().abs().max()) < tolerance


def alone(work: Callable[[], object]) -> Callable[[], Finished]:
    """Timed on one thread: the machines that this is run on have others at work beside it."""

    def run() -> Finished:
        with one_thread():
            return timed(work)

    return run


def against(
    what: str,
    own: Scan,
    other: Scan,
    arguments: Mapping[str, Tensor],
    bound: float,
    tolerance: float = 1e-4,
) -> Row:
    weight = weight_of(own(**arguments).detach())
    check(own, other, arguments, weight, tolerance)
    theirs, ours = in_turns(
        alone(lambda: step_of(other, arguments, weight)),
        alone(lambda: step_of(own, arguments, weight)),
        7,
    )
    figure = ratio(theirs, ours)
    return Row(what, f"{figure:.1f}x", f">= {bound:g}x", figure >= bound)


# ---- Mamba ---------------------------------------------------------------------------------------


def mamba_arguments() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    drawn = {
        "step": 0.1 * draw(1, TOKENS, CHANNELS),
        "u": draw(1, TOKENS, CHANNELS) - 0.5,
        "rate": 1 + 15 * draw(CHANNELS, STATES),
        "key": draw(1, TOKENS, STATES) - 0.5,
        "query": draw(1, TOKENS, STATES) - 0.5,
    }
    return {name: x.requires_grad_() for name, x in drawn.items()}


def own_scan(step: Tensor, u: Tensor, rate: Tensor, key: Tensor, query: Tensor) -> Tensor:
    return selective_scan(step, u, rate, key.unsqueeze(2), query.unsqueeze(2))


def loop_scan(step: Tensor, u: Tensor, rate: Tensor, key: Tensor, query: Tensor) -> Tensor:
    decays = torch.exp(-step.unsqueeze(-1) * rate)
    driven = (step * u).unsqueeze(-1) * key.unsqueeze(2)
    h = torch.zeros_like(driven[:, 0])
    outputs = []
    for decay, new, c in zip(decays.unbind(1), driven.unbind(1), query.unbind(1), strict=True):
        h = decay * h + new
        outputs.append((h * c.unsqueeze(1)).sum(-1))
    return torch.stack(outputs, 1)


def pscan_scan(step: Tensor, u: Tensor, rate: Tensor, key: Tensor, query: Tensor) -> Tensor:
    from mambapy.pscan import pscan

    decays = torch.exp(-step.unsqueeze(-1) * rate)
    driven = (step * u).unsqueeze(-1) * key.unsqueeze(2)
    return (pscan(decays, driven) @ query.unsqueeze(-1)).squeeze(-1)


@numba.njit(fastmath={"contract"}, nogil=True)
def _forward(step, u, rate, key, query, states, y):  # type: ignore[no-untyped-def]
    tokens, channels = u.shape
    for d in range(channels):
        for n in range(rate.shape[1]):
            h = np.float32(0)
            for t in range(tokens):
                h = np.exp(-step[t, d] * rate[d, n]) * h + step[t, d] * u[t, d] * key[t, n]
                states[t, d, n] = h
                y[t, d] += h * query[t, n]


@numba.njit(fastmath={"contract"}, nogil=True)
def _backward(step, u, rate, key, query, states, g, ds, du, dr, dk, dq):  # type: ignore[no-untyped-def]
    tokens, channels = u.shape
    for d in range(channels):
        for n in range(rate.shape[1]):
            flow = np.float32(0)
            for t in range(tokens - 1, -1, -1):
                h = states[t, d, n]
                flow += g[t, d] * query[t, n]
                dq[t, n] += g[t, d] * h
                dk[t, n] += flow * step[t, d] * u[t, d]
                du[t, d] += flow * step[t, d] * key[t, n]
                decay = np.exp(-step[t, d] * rate[d, n])
                before = states[t - 1, d, n] if t > 0 else np.float32(0)
                moved = flow * decay * before
                ds[t, d] += flow * u[t, d] * key[t, n] - moved * rate[d, n]
                dr[d, n] -= moved * step[t, d]
                flow *= decay


class _Numba(torch.autograd.Function):
    @staticmethod
    def forward(ctx, step, u, rate, key, query):  # type: ignore[no-untyped-def]
        arrays = [x.detach().numpy() for x in (step[0], u[0], rate, key[0], query[0])]
        states = np.empty((*arrays[1].shape, rate.shape[1]), np.float32)
        y = np.zeros_like(arrays[1])
        _forward(*arrays, states, y)
        ctx.arrays, ctx.states = arrays, states
        return torch.from_numpy(y)[None]

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        found = [np.zeros_like(x) for x in ctx.arrays]
        _backward(*ctx.arrays, ctx.states, grad[0].numpy(), *found)
        ds, du, dr, dk, dq = (torch.from_numpy(x) for x in found)
        return ds[None], du[None], dr, dk[None], dq[None]


def numba_scan(step: Tensor, u: Tensor, rate: Tensor, key: Tensor, query: Tensor) -> Tensor:
    return _Numba.apply(step, u, rate, key, query)


def mamba_scan() -> Iterator[Row]:
    arguments = mamba_arguments()
    shape = f"Mamba's scan, {TOKENS} tokens x {CHANNELS} x {STATES}, a training step"
    yield against(f"{shape}, against the loop", own_scan, loop_scan, arguments, 1.3)
    yield against(f"{shape}, against numba", own_scan, numba_scan, arguments, 1.3)
    what = f"{shape}, against mambapy's pscan"
    if find_spec("mambapy") is None:
        yield Row(what, "not measured: mambapy is not installed", ">= 1.3x", met=False)
    else:
        yield against(what, own_scan, pscan_scan, arguments, 1.3)


def mamba_memory() -> Row:
    """What a training step of the scan takes at most, over what the loop takes."""
    begin = "import torch; from benchmarks import training as t; a = t.mamba_arguments(); "
    begin += f"w = torch.ones(1, {TOKENS}, {CHANNELS}); "
    idle, own, loop = (
        run_process(python(begin + work), OMP_NUM_THREADS="1").peak_bytes
        for work in ("", "t.step_of(t.own_scan, a, w)", "t.step_of(t.loop_scan, a, w)")
    )
    share = (own - idle) / (loop - idle)
    what = "Mamba's scan, a training step, peak memory over the loop's"
    return Row(what, f"{share:.2f}x", "<= 0.25x", share <= 0.25)


def transformers_mixer() -> Row:
    """The whole layer of width 128, projections and convolution included, with the same weights."""
    from transformers import MambaConfig
    from transformers.models.mamba.modeling_mamba import MambaMixer

    torch.manual_seed(0)
    width = CHANNELS // 2
    config = MambaConfig(hidden_size=width, state_size=STATES, expand=2, num_hidden_layers=1)
    theirs = MambaMixer(config, layer_idx=0)
    options = {"state_size": STATES, "step_rank": config.time_step_rank}
    same = {"mixer": "mamba", "mixer_options": options}
    whole = model_of(SpectrakitConfig(hidden_size=width, num_hidden_layers=1, **same))
    own = whole.model.blocks[0].mixer
    for role, name in NAMES.items():
        own.get_parameter(role).data.copy_(theirs.get_parameter(name).data)
    hidden = torch.randn(1, TOKENS, width)
    arguments = {"hidden": hidden.requires_grad_()}
    weight = weight_of(hidden)
    other: Scan = lambda hidden: theirs(hidden)  # noqa: E731
    check(own, other, arguments, weight)
    slow, fast = in_turns(
        alone(lambda: step_of(other, arguments, weight)),
        alone(lambda: step_of(own, arguments, weight)),
        1,
    )
    figure = ratio(slow, fast)
    what = (
        f"a Mamba layer of width {width}, {TOKENS} tokens, a training step, against transformers'"
    )
    return Row(what, f"{figure:.0f}x", ">= 50x", figure >= 50)


NAMES = {
    "A_log": "A_log",
    "D": "D",
    "input_projection": "in_proj.weight",
    "convolution": "conv1d.weight",
    "convolution_bias": "conv1d.bias",
    "output_projection": "out_proj.weight",
    "step_bias": "dt_proj.bias",
    "step_projection": "dt_proj.weight",
    "selection_projection": "x_proj.weight",
}


# ---- LRU, S4D ------------------------------------------------------------------------------------


def lru_scan() -> Row:
    generator = torch.Generator().manual_seed(0)
    decay = torch.complex(
        -0.1 * torch.rand(LRU_STATES, generator=generator),
        6 * torch.rand(LRU_STATES, generator=generator),
    )
    shape = (BATCH, LRU_TOKENS, LRU_STATES)
    driven = torch.complex(*(torch.randn(shape, generator=generator) for _ in range(2)))

    def own(log_decay: Tensor, driven: Tensor) -> Tensor:
        return diagonal_scan(log_decay, driven).real

    def loop(log_decay: Tensor, driven: Tensor) -> Tensor:
        decay, h, states = log_decay.exp(), torch.zeros_like(driven[:, 0]), []
        for new in driven.unbind(1):
            h = decay * h + new
            states.append(h)
        return torch.stack(states, 1).real

    arguments = {"log_decay": decay.requires_grad_(), "driven": driven.requires_grad_()}
    what = f"the LRU's scan, {BATCH} x {LRU_TOKENS} tokens x {LRU_STATES}, a training step"
    return against(f"{what}, against the loop", own, loop, arguments, 3)


def s4d_kernel() -> Row:
    """A whole S4D layer, 128 channels of 64 states (32 stored), 1,024 tokens, 8 sequences."""
    torch.manual_seed(0)
    config = SpectrakitConfig(hidden_size=128, num_hidden_layers=1, mixer="s4d")
    layer = model_of(config).model.blocks[0].mixer
    p = layer.roles()

    def fft(hidden: Tensor) -> Tensor:
        tokens = hidden.shape[1]
        step = torch.exp(p["step"])
        generator = torch.complex(-torch.exp(p["A_real"]), p["A_imag"])
        scaled = generator * step.unsqueeze(-1)
        powers = scaled.unsqueeze(-1) * torch.arange(tokens)
        output = torch.view_as_complex(p["C"][0]) * (torch.exp(scaled) - 1) / generator
        kernel = 2 * torch.einsum("hn,hnl->hl", output, torch.exp(powers)).real
        u = hidden.transpose(1, 2)
        spectrum = torch.fft.rfft(u, n=2 * tokens) * torch.fft.rfft(kernel, n=2 * tokens)
        y = torch.fft.irfft(spectrum, n=2 * tokens)[..., :tokens]
        return (y + u * p["D"].unsqueeze(-1)).transpose(1, 2)

    arguments = {"hidden": torch.randn(8, TOKENS, 128).requires_grad_(), **p}
    own, other = (lambda hidden, **_: layer(hidden)), (lambda hidden, **_: fft(hidden))
    what = f"an S4D layer of 128 channels x 64 states, 8 x {TOKENS} tokens, a training step"
    # The gradient on the steps is a small difference of large sums: float32 leaves it four digits.
    return against(f"{what}, against the widespread FFT form", own, other, arguments, 1, 1e-3)


# ---- the tracker ---------------------------------------------------------------------------------


def tracker() -> Iterator[Row]:
    """A snapshot of a Mamba of 4 layers of width 128, beside a training step on 8 x 256 tokens."""
    torch.manual_seed(0)
    config = SpectrakitConfig(hidden_size=128, num_hidden_layers=4, mixer="mamba")
    model = model_of(config)
    ids = torch.randint(256, (8, 256))
    spectra = watch(model, probe=None).tracker
    probing = watch(model, probe=ids).tracker

    def step() -> None:
        model.zero_grad()
        model(ids, labels=ids).loss.backward()

    def forward() -> None:
        with torch.no_grad():
            model(ids)

    def only_probe() -> None:
        probing._layers = []  # the parameters are not looked at
        probing.snapshot(0)

    step()
    snapshots, steps = in_turns(alone(lambda: spectra.snapshot(0)), alone(step))
    share = ratio(snapshots, steps)
    yield Row(
        "a snapshot of parameters over a training step", f"{share:.1%}", "<= 10%", share <= 0.1
    )
    probes, passes = in_turns(alone(only_probe), alone(forward))
    times = ratio(probes, passes)
    yield Row("a probe on the batch over a forward pass of it", f"{times:.2f}x", "<= 1.5x",
              times <= 1.5)  # fmt: skip
