"""Linear probes: what a linear classifier can tell from states of sources it has not seen.

    z = (h - mean) / deviation                            of the training states, by feature
    P(label | h) = softmax(W z + b),   minimising   C sum -log P + ||W||^2 / 2

Sources are dealt into folds, and all states of a source are in the same one: what tells sources
apart is of no use on those held out. In each fold, C is the one of `STRENGTHS` that does best on
inner folds of the training sources alone. The control is the same probe, with the same C, on
shuffled labels: what this many features can do without anything to find (Hewitt & Liang 2019 ask
for such a control; which one is ours). A linear classifier with softmax at each layer is that of Lu
et al. 2024 (arXiv 2406.14673); folds, strengths and control are ours.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from spectrakit._lazy import lazy_import

if TYPE_CHECKING:
    import numpy as np
    from sklearn import base, dummy, exceptions, linear_model, model_selection, preprocessing
else:
    np = lazy_import("numpy")
    dummy = lazy_import("sklearn.dummy")
    exceptions = lazy_import("sklearn.exceptions")
    linear_model = lazy_import("sklearn.linear_model")
    model_selection = lazy_import("sklearn.model_selection")
    preprocessing = lazy_import("sklearn.preprocessing")

#: Values of C, from a probe that is nearly constant to one that is nearly free.
STRENGTHS = (1e-4, 1e-2, 1.0)
_INNER_FOLDS = 3
_STEPS = 200


@dataclass(frozen=True)
class HeldOut:
    """Which of n states the probe told right when their source was held out.

    right, control: (n,) of bool, of the probe and of the one for shuffled labels.
    """

    right: np.ndarray
    control: np.ndarray


def cannot_probe(
    labels: np.ndarray, sources: np.ndarray, folds: int
) -> Literal["few_sources", "one_label"] | None:
    """Why no probe can be fitted; None where one can.

    labels: (n,). sources: (n,), what each state belongs to.

    few_sources: a fold would have none, or its training too few for inner folds. one_label: all
    states have the same.
    """
    count = len(np.unique(sources))
    if count < folds or count - -(-count // folds) < _INNER_FOLDS:
        return "few_sources"
    return "one_label" if len(np.unique(labels)) < 2 else None


def probe(
    states: np.ndarray, labels: np.ndarray, sources: np.ndarray, folds: int, seed: int
) -> HeldOut:
    """Fit a probe for each fold, and use it on the sources that were held out.

    states: (n, features). labels, sources: (n,); `cannot_probe` has no objection to them. seed: of
    folds and shuffling; the same for all states of the same prompts, so that depths are comparable.
    """
    states = states.astype(np.float64)
    shuffled = shuffled_labels(labels, sources, seed)
    right, control = np.zeros((2, len(labels)), bool)
    for train, test in _folds(sources, folds, seed):
        seen, unseen = _features(states[train], states[test])
        strength = _strength(seen, labels[train], sources[train], seed)
        for found, truth in ((right, labels), (control, shuffled)):
            classifier = _fitted(seen, truth[train], strength)
            found[test] = classifier.predict(unseen) == truth[test]
    return HeldOut(right, control)


def shuffled_labels(labels: np.ndarray, sources: np.ndarray, seed: int) -> np.ndarray:
    """Labels of a random other source with as many states, in a random order.

    So the shuffled ones are as balanced within sources as the true ones, or as constant.
    """
    draw = np.random.default_rng(seed)
    names, of = np.unique(sources, return_inverse=True)
    members = [np.flatnonzero(of == number) for number in range(len(names))]
    sizes = np.array([len(member) for member in members])
    found = np.empty_like(labels)
    for size in np.unique(sizes):
        alike = np.flatnonzero(sizes == size)
        for to, source in zip(alike, draw.permutation(alike), strict=True):
            found[members[to]] = labels[draw.permutation(members[source])]
    return found


def _folds(sources: np.ndarray, folds: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Indices of training and held-out states."""
    dealt = model_selection.GroupKFold(folds, shuffle=True, random_state=seed)
    found: Iterator[tuple[np.ndarray, np.ndarray]] = dealt.split(sources, groups=sources)
    return found


def _features(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Standardised by the training states; where they are fewer than features, in their span.

    W lies in that span, for anything beside it costs and changes no training state: the probe is
    the same one, found with less work.
    """
    scaler = preprocessing.StandardScaler().fit(train)
    train, test = scaler.transform(train), scaler.transform(test)
    if train.shape[1] > len(train):
        basis = np.linalg.svd(train, full_matrices=False)[2].T
        train, test = train @ basis, test @ basis
    return train, test


def _strength(states: np.ndarray, labels: np.ndarray, sources: np.ndarray, seed: int) -> float:
    """The one of `STRENGTHS` that tells most in inner folds; the smallest of those that do."""
    right = dict.fromkeys(STRENGTHS, 0)
    for train, test in _folds(sources, _INNER_FOLDS, seed):
        for strength in STRENGTHS:
            classifier = _fitted(states[train], labels[train], strength)
            right[strength] += int((classifier.predict(states[test]) == labels[test]).sum())
    return max(STRENGTHS, key=lambda strength: (right[strength], -strength))


def _fitted(states: np.ndarray, labels: np.ndarray, strength: float) -> base.ClassifierMixin:
    """A probe; of states that happen to have one label alone, one that knows no other."""
    if len(np.unique(labels)) < 2:
        return dummy.DummyClassifier().fit(states, labels)
    classifier = linear_model.LogisticRegression(C=strength, tol=1e-3, max_iter=_STEPS)
    with warnings.catch_warnings():
        # Stopping early regularises a little more.
        warnings.simplefilter("ignore", exceptions.ConvergenceWarning)
        return classifier.fit(states, labels)
