"""A checkpoint together with the architecture that knows how to read it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import sys
from collections.abc import Mapping
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, Unpack

from spectrakit._lazy import lazy_import
from spectrakit.architectures.adapter_effect import mention_effect
from spectrakit.architectures.config_keys import check_given, config_keys, unknown_keys
from spectrakit.architectures.equations import equations_notes
from spectrakit.architectures.reading import check_finite, read_recurrence
from spectrakit.architectures.taken_out import choose_model, take_out
from spectrakit.checkpoints.access import HubAccess
from spectrakit.errors import SpectrakitError, UnsupportedError, UsageError
from spectrakit.memory_limits import check_memory
from spectrakit.plugins import plugins
from spectrakit.wording import inspecting

if TYPE_CHECKING:
    from spectrakit import checkpoints
    from spectrakit.architectures import Architecture, Layer, RunnableModel
    from spectrakit.checkpoints import Checkpoint, TensorsInMemory, TensorSource
    from spectrakit.checkpoints.hub_opening import HowOpened
    from spectrakit.dynamics import Recurrence
    from spectrakit.registry import Registered
    from spectrakit.settings import Source
    from spectrakit.spec import RunSpec
else:
    checkpoints = lazy_import("spectrakit.checkpoints")


logger = logging.getLogger("spectrakit")


class Model:
    """A checkpoint that an architecture claimed. Opening one reads headers only.

    Use it with `with`, or `close()` it.
    """

    def __init__(
        self,
        checkpoint: Checkpoint | TensorsInMemory,
        hub: HubAccess | None = None,
        key: str | None = None,
    ) -> None:
        """key: under which the model's tensors stand, where there are several models.

        Raises UnsupportedError where no architecture claims `checkpoint`, UsageError where it holds
        several models and none is chosen.
        """
        self.checkpoint = checkpoint
        self.hub = hub or HubAccess()
        choose_model(checkpoint, key)
        self.claimed_by = _claim(checkpoint)
        take_out(checkpoint, self.architecture)

    @property
    def architecture(self) -> Architecture:
        """The architecture that reads this checkpoint."""
        return self.claimed_by.thing

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """Every sequence layer, those that cannot be read included.

        Raises MalformedError where config and weights disagree, UnsupportedError where there is no
        sequence layer at all.
        """
        layers = self.architecture.layers(self.checkpoint)
        if not layers:
            message = f"{self.checkpoint.model_id} has no sequence layer"
            raise UnsupportedError(message, hint=f"spectrakit inspect {self.checkpoint.model_id}")
        return layers

    def revision(self, source: Source) -> str:
        """What tables of a run in this mode are of: commit or content hash, and config overrides.

        Data mode reads the whole checkpoint, weights mode the `weights_tensors` (and D) of its
        layers: see `Checkpoint.revision_of`. Values put over the files' config change the numbers
        as other weights would: `config-<8 hex>-` of them goes in front, and `key-<8 hex>-` of the
        key of one of several models.

        Raises what `layers` and `Checkpoint.read` do.
        """
        names: list[str] | None = None
        if source == "weights":
            names = [name for layer in self.layers for name in _read_of(layer)]
        revision = self.checkpoint.revision_of(names)
        if changed := self.checkpoint.overridden:
            told = json.dumps(changed, sort_keys=True, default=str)
            revision = f"config-{hashlib.sha256(told.encode()).hexdigest()[:8]}-{revision}"
        if key := self.checkpoint.key:
            revision = f"key-{hashlib.sha256(key.encode()).hexdigest()[:8]}-{revision}"
        return revision

    @cached_property
    def unknown_keys(self) -> tuple[str, ...]:
        """Keys of the config, dotted, that nothing here reads or knows to change nothing.

        Empty where the architecture does not declare those it knows (`config_keys`).
        """
        keys = config_keys(self.architecture, self.checkpoint)
        return () if keys is None else unknown_keys(keys, self.checkpoint.config)

    @property
    def equations(self) -> tuple[str, ...]:
        """What is to be said of whose equations are followed, where codes of the model differ."""
        return equations_notes(self.architecture, self.checkpoint)

    def layer(self, index: int) -> Layer:
        """Layer `index` of the model. Raises UsageError where there is none."""
        for layer in self.layers:
            if layer.index == index:
                return layer
        last = self.layers[-1].index
        message = f"{self.checkpoint.model_id} has no layer {index}; its last is {last}"
        raise UsageError(message)

    def recurrence(self, index: int) -> Recurrence:
        """What the weights alone determine of layer `index`: a static or nominal recurrence.

        Raises UsageError where there is no such layer, UnsupportedError where its weights alone
        have no spectrum, MalformedError where they hold NaN or Inf.
        """
        return read_recurrence(self.checkpoint, self.layer(index))

    @property
    def placement(self) -> tuple[str, str] | None:
        """The device and the dtype that its forward pass has; None where they can be chosen."""
        return None

    def load(
        self,
        device: str | None = None,
        dtype: str | None = None,
        *,
        to_change: bool = False,  # noqa: ARG002  (what is loaded from files is always one's own)
    ) -> RunnableModel:
        """The whole model in memory, ready to run; downloads what is not on this disk yet.

        device, dtype: None for the CPU, and float32. to_change: whether its weights are going to be
        changed, and have to be a copy where they are in memory already.

        Raises UsageError where it would not fit in memory, MalformedError where the parameters of a
        transition hold NaN or Inf, and what the architecture's `load` does.
        """
        return self._loaded(self.checkpoint, device or "cpu", dtype or "float32")

    def _loaded(
        self, source: Checkpoint | TensorsInMemory, device: str, dtype: str
    ) -> RunnableModel:
        check_memory(source, device, dtype)
        local = source.localize()
        self._check_finite(local)
        return self.architecture.load(local, device, dtype)

    def _check_finite(self, source: TensorSource) -> None:
        """Raise MalformedError where the parameters of a transition hold NaN or Inf."""
        for layer in self.layers:
            check_finite(source, layer, source.read(layer.weights_tensors))

    def close(self) -> None:
        """Let go of the files."""
        self.checkpoint.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Model({self.checkpoint.model_id!r}, {self.architecture.name})"


def open_checkpoint(
    name: str,
    *,
    revision: str | None = None,
    file: str | None = None,
    subfolder: str | None = None,
    config: Mapping[str, Any] | None = None,
    key: str | None = None,
    **how: Unpack[HowOpened],
) -> Model:
    """Open the checkpoint `name` and find the architecture that reads it; headers only.

    config: what the checkpoint's own config does not say; wins where the two differ. A key of a
    section is SECTION.KEY. key: which model, where there are several ("ema"): what stands before
    its tensors' names. Warns, by the logger `spectrakit`, of keys of the config that nothing
    knows.

    See `spectrakit.checkpoints.open_checkpoint` for the arguments and the errors of names and
    files. Raises UnsupportedError where no architecture claims the checkpoint, UsageError for a key
    in `config` that nothing reads.
    """
    checkpoint = checkpoints.open_checkpoint(
        name, revision=revision, file=file, subfolder=subfolder, **how
    )
    checkpoint.configure(config or {})
    try:
        asked = {"revision": revision, "file": file, "subfolder": subfolder, "key": key}
        with inspecting(os.fspath(name), **asked):
            model = Model(checkpoint, _access(how), key)
            check_config(model)
            mention_effect(checkpoint, lambda: model.layers)
    except SpectrakitError:
        checkpoint.close()
        raise
    return model


def open_model(spec: RunSpec, **how: Unpack[HowOpened]) -> Model:
    """The model that `spec` names, opened. Raises what `open_checkpoint` does."""
    return open_checkpoint(
        spec.opened,
        revision=spec.revision,
        file=spec.file,
        subfolder=spec.subfolder,
        config=spec.config,
        key=spec.key,
        **how,
    )


def _access(how: HowOpened) -> HubAccess:
    return HubAccess(how.get("cache_dir"), how.get("token"), how.get("offline"))


def check_config(model: Model) -> None:
    """Raise UsageError for a key that was given and that nothing reads; warn of unknown ones."""
    checkpoint = model.checkpoint
    keys = config_keys(model.architecture, checkpoint)
    if keys is not None:
        check_given(checkpoint.model_id, keys, checkpoint.given)
    if model.unknown_keys:
        logger.warning(
            "keys in the config of %s that %s does not know, and that may change its equations: %s",
            checkpoint.model_id,
            model.architecture.name,
            ", ".join(model.unknown_keys),
        )


def _read_of(layer: Layer) -> tuple[str, ...]:
    """The tensors that weights mode and `extract` read of a layer."""
    if not layer.in_weights:
        return ()
    feedthrough = layer.parameters.get("D")
    return (*layer.weights_tensors, *([feedthrough] if feedthrough else []))


def _claim(checkpoint: TensorSource) -> Registered[Architecture]:
    registry = plugins().register().architectures
    claims = [entry for entry in registry.things.values() if _claims(entry, checkpoint)]
    claims = [entry for entry in claims if not _is_last(entry)] or claims
    if len(claims) == 1:
        return claims[0]
    if claims:
        names = " and ".join(f"{c.thing.name} ({c.origin.distribution})" for c in claims)
        message = f"{checkpoint.model_id} is claimed by {names}"
        raise UsageError(message, hint="set SPECTRAKIT_LOAD_PLUGINS to load only one of them")
    message = (
        f"no architecture here reads {checkpoint.model_id} ({_kind(checkpoint.config)}), nor one "
        "of a plugin; spectrakit plugins list shows those there are"
    )
    raise UnsupportedError(message, hint=f"spectrakit inspect {checkpoint.model_id}")


def _is_last(entry: Registered[Architecture]) -> bool:
    """Whether the architecture reads what nothing else does."""
    return bool(getattr(entry.thing, "last", False))


#: All that the config of a GGUF file has, where its model is none that is known.
_GGUF = "general.architecture"


def _kind(config: Mapping[str, Any]) -> str:
    """What a config says of the kind of its model."""
    kind = config.get("model_type")
    if kind is not None:
        return f"model_type {kind!r}"
    if _GGUF in config:
        return f"GGUF architecture {config[_GGUF]!r}"
    options = config.get("ssm_cfg")  # of the mamba_ssm library, whose configs have no model_type
    if isinstance(options, Mapping) and "layer" in options:
        return f"ssm_cfg.layer {options['layer']!r}"
    return "its config has no model_type" if config else "no config.json says what it is"


def _claims(entry: Registered[Architecture], checkpoint: TensorSource) -> bool:
    """Whether this architecture claims `checkpoint`; one that fails at the question does not."""
    try:
        with contextlib.redirect_stdout(sys.stderr):
            return bool(entry.thing.claims(checkpoint))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001  (a plugin's fault, sys.exit too, is its own)
        logger.warning(
            "%s of %s failed when asked about %s: %s: %s",
            entry.thing.name,
            entry.origin.distribution,
            checkpoint.model_id,
            type(error).__name__,
            error,
        )
        return False
