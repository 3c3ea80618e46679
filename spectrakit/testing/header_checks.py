"""The checks of an architecture that need no forward pass: what headers and weights tell."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import spectrakit as sk
from spectrakit import catalog, checkpoints
from spectrakit.errors import MalformedError, SpectrakitError, UnsupportedError
from spectrakit.plugins import plugins
from spectrakit.testing import damage
from spectrakit.testing.checkpoint_bench import CheckpointBench, analysed
from spectrakit.testing.headers_only import cost_of_claiming
from spectrakit.testing.require import CheckFailed, require, require_equal


def claims_only_its_own(bench: CheckpointBench) -> None:
    """It claims the example, alone; not the bundled models of others, nor another `model_type`."""
    require_equal("claimed by", bench.model.architecture.name, bench.example.architecture)
    with checkpoints.open_checkpoint(bench.path) as disguised:
        disguised.configure({"model_type": "spectrakit-no-such-model"})
        claimed = bench.architecture.claims(disguised)
    yields = getattr(bench.architecture, "last", False)  # to all others, so it may claim more
    require(yields or not claimed, "it claims a checkpoint whose model_type is that of no model")
    others = [
        entry.thing
        for entry in plugins().register().architectures.things.values()
        if entry.thing.name != bench.example.architecture
        and not getattr(entry.thing, "last", False)  # which yields to this one
    ]
    for known in catalog.entries():
        if known.folder is None:
            continue
        with checkpoints.open_checkpoint(known.folder) as foreign:
            claimed = bench.architecture.claims(foreign)
            taken = claimed and not yields and any(other.claims(foreign) for other in others)
            require(not taken, f"it claims {known.name}, which another architecture reads")


def claims_from_headers_alone(bench: CheckpointBench) -> None:
    """Claiming it and listing its layers reads no tensor and imports neither torch nor numpy."""
    cost = cost_of_claiming(bench.path)
    require(not cost.bytes_read, f"{cost.bytes_read:,} bytes of tensors were read")
    require(not cost.imported, f"{' and '.join(cost.imported)} imported")


def lists_its_layers(bench: CheckpointBench) -> None:
    """Kinds in order, numbers from 0, and where one is not read a reason."""
    layers = bench.model.layers
    require_equal("kinds", tuple(layer.kind for layer in layers), bench.example.kinds)
    require_equal("numbers", [layer.index for layer in layers], list(range(len(layers))))
    for layer in layers:
        if layer.mixer is None:
            require(bool(layer.reason), f"layer {layer.index} is not read, and nothing says why")
        else:
            require_equal("kind of the mixer", layer.mixer.name, layer.kind)
            registered = layer.kind in plugins().register().mixers.things
            require(registered, f"mixer {layer.kind!r} is not registered")


def nan_is_refused(bench: CheckpointBench) -> None:
    """NaN in a tensor that weights mode reads is an error that names the tensor."""
    layer = next((layer for layer in bench.model.layers if layer.weights_tensors), None)
    if layer is None:
        return  # weights mode reads nothing here
    name = layer.weights_tensors[0]
    broken = damage.changed(
        bench.path, bench.folder(), bench.model.checkpoint, name, damage.with_nan
    )
    error = _refused("NaN", lambda: _read_weights(broken, layer.index))
    require(name in str(error), f"the error does not name {name}: {error.message}")


def truncated_weights_are_refused(bench: CheckpointBench) -> None:
    """A weight file that ends too early is an error."""
    cut = damage.truncated(bench.path, bench.folder(), bench.model.checkpoint)
    _refused("a truncated file", lambda: _read_weights(cut, 0))


def wrong_shapes_are_refused(bench: CheckpointBench) -> None:
    """A parameter of another shape than the config makes it is an error when layers are listed."""
    layer = next((layer for layer in bench.model.layers if layer.parameters), None)
    if layer is None:
        return  # no parameter is read here
    name = next(iter(layer.weights_tensors or layer.parameters.values()))
    misshapen = damage.changed(
        bench.path, bench.folder(), bench.model.checkpoint, name, damage.with_another_row
    )
    _refused(f"{name} of a wrong shape", lambda: _list_layers(misshapen))


def is_the_same_in_memory(bench: CheckpointBench) -> None:
    """Its tensors and its config, given in memory, make the same layers and recurrences."""
    files = bench.model
    tensors = files.checkpoint.read(files.checkpoint.tensors)
    try:
        held = sk.from_state_dict(tensors, config=files.checkpoint.config)
        require_equal("layers", held.layers, files.layers)
    except SpectrakitError as error:
        message = f"it is not read from memory: {error.message}"
        raise CheckFailed(message) from error
    for layer in files.layers:
        if layer.in_weights:
            found, expected = (
                model.recurrence(layer.index).eigenvalues().log_modulus for model in (held, files)
            )
            require(found.equal(expected), f"layer {layer.index} has other eigenvalues in memory")


def weights_mode_writes_what_it_promises(bench: CheckpointBench) -> None:
    """`analyze --mode weights` writes a spectrum of every layer that says it has one."""
    promised = [layer.index for layer in bench.model.layers if layer.in_weights]
    try:
        run = sk.analyze(bench.model, mode="weights")
    except UnsupportedError:
        require(not promised, f"layers {promised} are said to have a spectrum in weights mode")
        return
    require_equal("analysed layers", analysed(run), promised)
    modes = set(run.table("spectrum_summary").column("mode").to_pylist())
    require(modes <= {"static", "nominal"}, f"modes {sorted(modes)}")


def _refused(what: str, attempt: Callable[[], None]) -> SpectrakitError:
    """The MalformedError that `attempt` raises. Raises CheckFailed where it raises none."""
    try:
        attempt()
    except MalformedError as error:
        return error
    except Exception as error:
        message = f"{what} raises {type(error).__name__}, not MalformedError: {error}"
        raise CheckFailed(message) from error
    message = f"{what} is not noticed"
    raise CheckFailed(message)


def _list_layers(path: Path) -> None:
    with sk.open_checkpoint(str(path)) as model:
        _ = model.layers


def _read_weights(path: Path, index: int) -> None:
    with sk.open_checkpoint(str(path)) as model:
        model.recurrence(index)


#: In the order they are run.
HEADER_CHECKS = (
    claims_only_its_own,
    claims_from_headers_alone,
    lists_its_layers,
    nan_is_refused,
    truncated_weights_are_refused,
    wrong_shapes_are_refused,
    is_the_same_in_memory,
    weights_mode_writes_what_it_promises,
)
