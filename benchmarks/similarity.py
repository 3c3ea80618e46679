"""CKA of all pairs of layers against the packages that compute it: torch_cka and ckatorch.

The features are the same for all: 25 layers x 4096 tokens x 768, in batches of 256. The packages
run a model that only hands its inputs on, so that nothing but their CKA is timed.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from itertools import count
from typing import TypeAlias

import torch
from torch import nn

from benchmarks.checkpoints import Checkpoints
from benchmarks.measure import Row, python, ratio, run_process, timed
from spectrakit._threads import one_thread
from spectrakit.representations.cka import cka_of
from spectrakit.representations.linear_hsic import LinearHSIC
from spectrakit.representations.minibatch import MinibatchCKA

LAYERS, TOKENS, WIDTH, BATCH = 25, 4096, 768, 256
MEMORY = 420 << 20
TURNS = 2

Package: TypeAlias = Callable[[Sequence[torch.Tensor]], torch.Tensor]

#: Peak memory of a process that streams the features, without and with the exact estimator.
_PROCESS = "from benchmarks import similarity\nbatches = similarity.streamed()\n"


def features() -> list[torch.Tensor]:
    """Layers (tokens, width) that drift away from the first, as a residual stream does."""
    return [torch.cat(parts) for parts in zip(*streamed(), strict=True)]


def streamed() -> Iterator[list[torch.Tensor]]:
    """The same, a batch at a time: a tensor (batch, width) of each layer."""
    generator = torch.Generator().manual_seed(0)
    blocks = torch.randn(LAYERS, WIDTH, WIDTH, generator=generator) / WIDTH**0.5
    for _ in range(TOKENS // BATCH):
        stream = [torch.randn(BATCH, WIDTH, generator=generator)]
        for block in blocks[1:]:
            stream.append(stream[-1] + 0.5 * torch.tanh(stream[-1] @ block))
        yield stream


def ours_by_groups(layers: Sequence[torch.Tensor]) -> torch.Tensor:
    """The minibatch estimator, groups of `BATCH` tokens."""
    grouped = MinibatchCKA(BATCH)
    for parts in batches_of(layers):
        grouped.add(parts)
    return grouped.cka().value


def ours_exact(batches: Iterator[Sequence[torch.Tensor]]) -> torch.Tensor:
    """Over all tokens, streamed."""
    hsic = LinearHSIC(MEMORY)
    for parts, start in zip(batches, count(0, BATCH), strict=False):
        hsic.add(parts, torch.arange(start, start + len(parts[0])))
    sums = hsic.pair_sums()
    assert sums.n == TOKENS
    return cka_of(sums.hsic(), sums.n).value


class Handing(nn.Module):
    """A model whose layers' outputs are the features: (batch, layers, width) in."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Identity() for _ in range(LAYERS))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for index, layer in enumerate(self.layers):
            layer(x[..., index, :])
        return x


NAMES = [f"layers.{index}" for index in range(LAYERS)]


def torch_cka(layers: Sequence[torch.Tensor]) -> torch.Tensor:
    """AntixK's package, batch by batch as it wants it."""
    from torch.utils.data import DataLoader, TensorDataset
    from torch_cka import CKA

    data = TensorDataset(torch.stack(list(layers), 1))
    compared = CKA(Handing(), Handing(), "a", "b", NAMES, NAMES)
    compared.compare(DataLoader(data, BATCH))
    return compared.export()["CKA"]


def ckatorch(layers: Sequence[torch.Tensor]) -> torch.Tensor:
    """A batch of its data is (minibatches, tokens, width): all tokens in groups of `BATCH`."""
    from ckatorch import CKA
    from torch.utils.data import DataLoader, TensorDataset

    grouped = torch.stack(list(layers), 1).view(TOKENS // BATCH, BATCH, LAYERS, WIDTH)
    compared = CKA(Handing(), Handing(), NAMES, first_name="a", second_name="b")
    return compared(DataLoader(TensorDataset(grouped), TOKENS // BATCH), epochs=1)


#: Each package, and how many times as fast the minibatch estimator has to be.
PACKAGES: dict[str, tuple[Package, float]] = {
    "torch_cka": (torch_cka, 20),
    "ckatorch": (ckatorch, 5),
}


def rows(_: Checkpoints) -> Iterator[Row]:
    layers = features()
    for name, (package, at_least) in PACKAGES.items():
        if find_spec(name) is None:
            hint = f"skipped: pip install --no-deps {name} matplotlib seaborn"
            yield Row(f"CKA of all pairs against {name}", hint, f">= {at_least:g}x", met=False)
        else:
            yield from compared(name, package, at_least, layers)
    before = run_process(python(_PROCESS + "for _ in batches: pass")).peak_bytes
    after = run_process(python(_PROCESS + "similarity.ours_exact(batches)")).peak_bytes
    extra, limit = (after - before) / 2**20, MEMORY / 2**20
    what = f"extra memory of the exact one, {limit:.0f} MiB allowed"
    yield Row(what, f"{extra:.0f} MiB", "what is allowed", extra <= limit)


def compared(
    name: str, package: Package, at_least: float, layers: Sequence[torch.Tensor]
) -> Iterator[Row]:
    """Our two estimators against one package, all on one thread and in turn."""
    theirs: list[torch.Tensor] = []
    with one_thread():
        grouped = ours_by_groups(layers)
        turns = [
            (
                timed(lambda: theirs.append(quietly(package, layers))),
                timed(lambda: ours_by_groups(layers)),
                timed(lambda: ours_exact(batches_of(layers))),
            )
            for _ in range(TURNS)
        ]
    package_runs, group_runs, exact_runs = zip(*turns, strict=True)
    shape = f"{LAYERS} layers x {TOKENS} tokens x {WIDTH}"
    figure = ratio(package_runs, group_runs)
    what = f"CKA of all pairs, {shape}, groups of {BATCH}, against {name}"
    yield Row(what, f"{figure:.0f}x faster", f">= {at_least:g}x", figure >= at_least)
    apart = float((theirs[0] - grouped).abs().max())
    yield Row("their largest difference", f"{apart:.0e}", "<= 1e-5", apart <= 1e-5)
    figure = ratio(package_runs, exact_runs)
    what = f"the exact one over all tokens, against {name}'s average over groups"
    yield Row(what, f"{figure:.1f}x faster", "> 1x", figure > 1)


def batches_of(layers: Sequence[torch.Tensor]) -> Iterator[Sequence[torch.Tensor]]:
    """The features again a batch at a time."""
    yield from zip(*(layer.split(BATCH) for layer in layers), strict=True)


def quietly(package: Package, layers: Sequence[torch.Tensor]) -> torch.Tensor:
    """Without progress bars and advice."""
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        return package(layers)
