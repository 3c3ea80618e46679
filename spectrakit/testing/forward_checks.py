"""The checks of an architecture in data mode: what a forward pass shows of every layer."""

from __future__ import annotations

import gc
import weakref
from typing import TYPE_CHECKING

import spectrakit as sk
from spectrakit._lazy import lazy_import
from spectrakit.architectures.residual_stream import block_of
from spectrakit.errors import UnsupportedError
from spectrakit.testing import observations, operator_checks
from spectrakit.testing.checkpoint_bench import CheckpointBench, analysed
from spectrakit.testing.require import FLOAT32, require, require_close, require_equal

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor

    from spectrakit.architectures import Layer
    from spectrakit.mixers import Observation
else:
    np = lazy_import("numpy")
    torch = lazy_import("torch")


def recurrence_gives_the_layers_output(bench: CheckpointBench) -> None:
    """Every readable layer is seen once; its recurrence gives what the model made, in any gauge."""
    readable = [layer for layer in bench.model.layers if layer.mixer is not None]
    require_equal("layers seen", [layer for layer, _ in bench.seen], readable)
    for layer, observation in bench.seen:
        require(observation.outputs is not None, f"layer {layer.index} recorded no outputs")
        assert observation.outputs is not None  # noqa: S101  (said above; for mypy)
        what = f"output of layer {layer.index}"
        require_close(what, observation.output(), observation.outputs, FLOAT32)
        if observation.recurrence.log_normaliser is None:
            continue
        for gauge in ("dsf", "retained", "unnormalised"):
            y = observation.recurrence.in_gauge(gauge).run(observation.inputs)
            y = y if observation.finish is None else observation.finish(y)
            require_close(f"{what}, {gauge}", y, observation.outputs, 10 * FLOAT32)


def has_the_shapes_it_says(bench: CheckpointBench) -> None:
    """Operators, inputs and eigenvalues have the axes (B, T, H) and the N of their mixers."""
    for layer, observation in bench.seen:
        assert layer.mixer is not None  # noqa: S101  (it was seen through its mixer)
        observations.has_the_shapes(layer.mixer, observation, *bench.tokens.shape)


def eigenvalues_are_those_of_the_matrices(bench: CheckpointBench) -> None:
    """Eigenvalues of A_t are those that a general solver finds of the matrices A_t applies."""
    for _, observation in bench.seen:
        last = bench.tokens.shape[1] - 1
        observations.has_the_matrices_eigenvalues(observation.recurrence, last, FLOAT32)


def operators_agree_with_their_matrices(bench: CheckpointBench) -> None:
    """Rows times A_t, some of its heads, and products over tokens are those of its matrices."""
    for _, observation in bench.seen:
        last = bench.tokens.shape[1] - 1
        operator_checks.agrees_with_its_matrices(observation.recurrence, last, FLOAT32)


def chunks_do_not_matter(bench: CheckpointBench) -> None:
    """The first tokens alone give the same, and so does every recurrence in two pieces."""
    cut = bench.tokens.shape[1] // 2 + 1
    pairs = zip(bench.observe(bench.tokens[:, :cut]), bench.seen, strict=True)
    for (_, first), (_, whole) in pairs:
        observations.same_beginning(first, whole, cut, FLOAT32)
        observations.resumes(whole.recurrence, whole.inputs, cut, FLOAT32)


def batch_order_does_not_matter(bench: CheckpointBench) -> None:
    """A sequence gives the same wherever it stands in the batch."""
    pairs = zip(bench.observe(bench.tokens.flip(0)), bench.seen, strict=True)
    for (layer, turned), (_, straight) in pairs:
        require_close(f"output of layer {layer.index}", _y(turned).flip(0), _y(straight), FLOAT32)


def padding_is_masked(bench: CheckpointBench) -> None:
    """What stands before a text as padding changes nothing after it, or `run` refuses padding."""
    padded, valid = bench.tokens.clone(), torch.ones_like(bench.tokens, dtype=torch.bool)
    padding = bench.tokens.shape[1] // 3
    padded[0, :padding] = bench.tokens[1, :padding].flip(0)
    valid[0, :padding] = False
    try:
        one, other = bench.observe(bench.tokens, valid), bench.observe(padded, valid)
    except UnsupportedError:
        return
    for (layer, before), (_, after) in zip(one, other, strict=True):
        found, expected = _y(after)[valid], _y(before)[valid]
        require_close(f"output of layer {layer.index} after padding", found, expected, FLOAT32)


def is_deterministic(bench: CheckpointBench) -> None:
    """Twice the same tokens give twice the same, bit by bit."""
    for (layer, again), (_, before) in zip(bench.observe(bench.tokens), bench.seen, strict=True):
        outputs = before.output() if before.outputs is None else before.outputs
        repeated = again.output() if again.outputs is None else again.outputs
        same = torch.equal(outputs, repeated)
        require(same, f"a second run gives layer {layer.index} another output")


def holds_one_layer_at_a_time(bench: CheckpointBench) -> None:
    """When a layer is shown, what was shown of the one before is gone."""
    shown: list[weakref.ref[Observation]] = []

    def on_layer(layer: Layer, observation: Observation) -> None:
        if any(earlier() is not None for earlier in shown):
            gc.collect()
        held = [earlier() is not None for earlier in shown]
        require(not any(held), f"at layer {layer.index}, {sum(held)} earlier ones are still held")
        shown.append(weakref.ref(observation))

    bench.runnable.run(bench.tokens, on_layer)


def shows_the_residual_stream(bench: CheckpointBench) -> None:
    """At every depth, (B, T, E); what is put in its place goes on, to later tokens alone."""
    plain = bench.states(bench.tokens)
    blocks = len({block_of(layer.path) for layer in bench.model.layers})
    require(len(plain) > blocks, f"{len(plain)} depths for {blocks} blocks with layers")
    for states in plain:
        require_equal("axes of the residual stream", states.shape[:2], bench.tokens.shape)
    at = bench.tokens.shape[1] // 2
    for depth in (0, len(plain) // 2):
        states = plain[depth].clone()
        states[:, at] = states[:, at].flip(-1)
        last = bench.states(bench.tokens, {depth: states})[-1]
        change = (last - plain[-1]).abs().amax((0, 2))
        require(bool(change[at] > 0), f"a change at depth {depth} is not gone on with")
        require_close("tokens before a change", last[:, :at], plain[-1][:, :at], FLOAT32)


def shows_its_mixers_alone(bench: CheckpointBench) -> None:
    """`run_mixers`, if there is one, shows every layer; another input changes later outputs."""
    if bench.driven is None:  # its mixers cannot be driven
        return
    at = bench.tokens.shape[1] // 2
    handed: dict[int, Tensor] = {}
    made: list[dict[int, Tensor]] = []

    def as_it_is(layer: Layer, hidden: Tensor) -> None:
        require_equal("axes of a mixer's input", hidden.shape[:2], bench.tokens.shape)
        handed[layer.index] = hidden.clone()

    def changed(layer: Layer, hidden: Tensor) -> Tensor:  # noqa: ARG001  (of a changed layer below)
        instead = handed[layer.index].clone()
        instead[:, at] = instead[:, at].flip(-1)
        return instead

    def keep(layer: Layer, output: Tensor) -> None:
        require_equal("axes of a mixer's output", output.shape[:2], bench.tokens.shape)
        made[-1][layer.index] = output.clone()

    for on_input in (as_it_is, changed):
        made.append({})
        bench.driven.run_mixers(bench.tokens, on_input, keep)
    plain, driven = made
    readable = [layer.index for layer in bench.model.layers if layer.mixer is not None]
    require_equal("layers whose mixer is shown", [sorted(handed), sorted(plain)], [readable] * 2)
    for index in readable:
        change = (driven[index] - plain[index]).abs().amax((0, 2))
        require(bool((change[at:] > 0).any()), f"layer {index} does not go on with a changed input")
        what = f"output of layer {index} before a change of its input"
        require_close(what, driven[index][:, :at], plain[index][:, :at], FLOAT32)


def memory_is_linear_in_tokens(bench: CheckpointBench) -> None:
    """No table of T x T is kept."""
    half = bench.observe(bench.tokens[:, : bench.tokens.shape[1] // 2])
    for (_, few), (_, many) in zip(half, bench.seen, strict=True):
        observations.grows_linearly(few, many)


def data_mode_writes_every_spectrum(bench: CheckpointBench) -> None:
    """`analyze --mode data` writes a spectrum of every layer that can be read."""
    from spectrakit.token_options import TokenOptions

    ids = bench.folder() / "ids.npy"
    np.save(ids, bench.tokens.numpy())
    batch, tokens = bench.tokens.shape
    source = TokenOptions(tokens=ids, batch_size=batch, seq_len=tokens)
    run = sk.analyze(bench.model, mode="data", source=source)
    readable = [layer.index for layer in bench.model.layers if layer.mixer is not None]
    require_equal("analysed layers", analysed(run), readable)
    summarised = set(run.table("spectrum_summary").column("layer").to_pylist())
    require_equal("layers with a summary", summarised, set(readable))


def _y(observation: Observation) -> Tensor:
    """What the recurrence makes of its inputs: (B, T, H, P), whatever the layer makes of that."""
    return observation.recurrence.run(observation.inputs)


#: In the order they are run.
FORWARD_CHECKS = (
    recurrence_gives_the_layers_output,
    has_the_shapes_it_says,
    eigenvalues_are_those_of_the_matrices,
    operators_agree_with_their_matrices,
    chunks_do_not_matter,
    batch_order_does_not_matter,
    padding_is_masked,
    is_deterministic,
    holds_one_layer_at_a_time,
    shows_the_residual_stream,
    shows_its_mixers_alone,
    memory_is_linear_in_tokens,
    data_mode_writes_every_spectrum,
)
