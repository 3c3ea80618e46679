"""Which examples a step is about: a function of (seed, step) alone."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from spectrakit.training import keyed

#: Parts of keys that say what is drawn.
ORDER, EXAMPLE, AUGMENTATION = 1, 2, 3
_SPLITS = {"train": 0, "validation": 1, "test": 2}


def generator(*parts: int) -> np.random.Generator:
    """A source of random numbers that is a function of `parts`."""
    return np.random.Generator(np.random.Philox(key=keyed.key_of(*parts)))


def example_generator(seed: int, split: str, number: int) -> np.random.Generator:
    """What the example `number` of a split is drawn from; no two splits share one."""
    return generator(EXAMPLE, seed, _SPLITS[split], number)


@lru_cache(maxsize=2)
def order(seed: int, epoch: int, size: int) -> np.ndarray:
    """The order of an epoch: a permutation of range(size), not to be written to."""
    found = generator(ORDER, seed, epoch).permutation(size)
    found.flags.writeable = False
    return found


def examples_of_step(seed: int, step: int, batch: int, size: int) -> np.ndarray:
    """Numbers (batch,) of the examples of `step`, counted from 0, in the one global order.

    Epochs follow each other without a gap: a batch may end one and begin the next.
    """
    first = step * batch
    places = np.arange(first, first + batch)
    epochs = places // size
    found = np.empty(batch, dtype=np.int64)
    for epoch in np.unique(epochs):
        here = epochs == epoch
        found[here] = order(seed, int(epoch), size)[places[here] - epoch * size]
    return found


def spread(count: int, size: int) -> list[int]:
    """Numbers of at most `count` of `size` examples, evenly apart: some data lie class by class."""
    count = min(count, size)
    return [place * size // count for place in range(count)]
