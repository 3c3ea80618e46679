"""State dicts of anyone's own models: every module in them that is a known sequence layer.

Names around a layer are every project's own, those inside it are its library's, and shapes say its
sizes. So a layer is a module that holds the parameters of one, in classifiers, U-nets and encoders
alike. It is asked for last. Weights mode reads them; a language model of Mamba is run, where all of
it is there and nothing else.

A config may name a `model_type` that nothing here knows, as those of models do whose code stands
beside their weights (`auto_map`). That code is not run, and may compute something else than the
names say, so every layer says what it is read by.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from spectrakit.architectures.bare import delta_rules, gated_units, mambas
from spectrakit.architectures.bare.language_model import WholeModel, whole_model
from spectrakit.architectures.bare.marks import MARKS
from spectrakit.architectures.bare.parts import Place, Recognised, Recogniser
from spectrakit.architectures.base import Layer, check_floating
from spectrakit.architectures.config_keys import ConfigKeys, words
from spectrakit.architectures.static_ssm import natural
from spectrakit.architectures.transformers_family import PartConfig
from spectrakit.architectures.transformers_mamba import BLOCKS, CHUNK_SCAN, SELECTIVE_SCAN
from spectrakit.architectures.transformers_model import TransformersModel, load_transformers_model
from spectrakit.errors import UnsupportedError
from spectrakit.mixers import GatedDeltaNet, KimiDelta, Mamba2
from spectrakit.plain import plain
from spectrakit.wording import given

if TYPE_CHECKING:
    from collections.abc import Iterable

    from spectrakit.architectures.base import RunnableModel
    from spectrakit.architectures.static_ssm import StaticSSM
    from spectrakit.checkpoints import TensorSource

#: Which layers a module may be that holds a parameter of this name.
_RECOGNISERS: dict[str, tuple[Recogniser, ...]] = {
    "A_log": (mambas.mamba_or_mamba2, delta_rules.delta_rule),
    "A_b_log": (mambas.backward_mamba,),
    "A_logs": (mambas.scans_of_an_image,),
    "recurrent_param": (gated_units.rg_lru,),
    "time_decay": (gated_units.rwkv,),
    "w0": (gated_units.rwkv,),
    "fgate_preact.bias": (gated_units.capped_mlstm,),
    "ifgate_preact.bias": (gated_units.capped_mlstm,),
    "fgate.bias": (gated_units.mlstm,),
    "_recurrent_kernel_": (gated_units.slstm,),
}


#: Libraries have other rules under the names of these: DeltaProduct, Comba.
_AMBIGUOUS = frozenset({GatedDeltaNet.name, KimiDelta.name})
_SIZES = words(
    """
    d_inner d_model expand hidden_act hidden_size intermediate_size n_layer norm_epsilon num_classes
    num_hidden_layers rms_norm_eps vocab_size
    """
)


class BareModules:
    """Bare state dicts with layers of Mamba, the delta rules, RG-LRU, RWKV or the mLSTM."""

    name: ClassVar[str] = "bare-modules"
    #: Whether others that claim a checkpoint come first.
    last: ClassVar[bool] = True

    def __init__(self, static: Iterable[StaticSSM] = ()) -> None:
        """static: families whose layers are listed too, where a file mixes them with others."""
        self._static = tuple(static)

    def config_keys(self, checkpoint: TensorSource) -> ConfigKeys:
        """What the weights do not show; of all else in a config, nothing is known."""
        options = (mambas.GROUPS, delta_rules.LOWER_BOUND, gated_units.SOFT_CAP)
        reads = {option.key for option in options} | set(mambas.LIMITS)
        irrelevant = _SIZES
        for family in self._static_in(checkpoint):
            keys = family.config_keys(checkpoint)
            reads |= keys.reads
            irrelevant |= keys.irrelevant
        return ConfigKeys(frozenset(reads), irrelevant=irrelevant)

    def _static_in(self, checkpoint: TensorSource) -> list[StaticSSM]:
        return [family for family in self._static if family.is_in(checkpoint)]

    def claims(self, checkpoint: TensorSource) -> bool:
        """By a layer that is recognised. Where the config names a `model_type` and no code of its
        own, only by one that no library has with other equations under the same names.
        """
        if "ssm_cfg" in checkpoint.config or not any(map(MARKS.fullmatch, checkpoint.tensors)):
            return False
        sure = "model_type" not in checkpoint.config or "auto_map" in checkpoint.config
        known = any(
            found.mixer is not None and (sure or found.kind not in _AMBIGUOUS)
            for _, found in _recognised(checkpoint)
        )
        return known or (sure and bool(self._static_in(checkpoint)))

    def layers(self, checkpoint: TensorSource) -> tuple[Layer, ...]:
        """Every layer, in the natural order of the modules' names.

        Raises UnsupportedError where what A needs is stored as no floats.
        """
        layers, whole = _listed(checkpoint)
        if not isinstance(whole, str):
            return tuple(map(_running, layers))
        static = [
            layer for family in self._static_in(checkpoint) for layer in family.layers(checkpoint)
        ]
        every = sorted((*layers, *static), key=_place)
        return tuple(replace(layer, index=index) for index, layer in enumerate(every))

    def load(self, checkpoint: TensorSource, device: str, dtype: str = "float32") -> RunnableModel:
        """The language model, as one of transformers.

        Raises UnsupportedError for any other model: what lies between its layers is not known.
        """
        layers, whole = _listed(checkpoint)
        if isinstance(whole, str):
            raise _not_run(checkpoint, whole)
        names = whole.names
        model = load_transformers_model(checkpoint, whole.config, device, dtype, names.get)
        tap = CHUNK_SCAN if isinstance(layers[0].mixer, Mamba2) else SELECTIVE_SCAN
        taps = {layer.index: tap for layer in layers}
        config = PartConfig(checkpoint.model_id, whole.config)
        return TransformersModel(model, tuple(map(_running, layers)), taps, config)


def described(checkpoint: TensorSource) -> str | None:
    """What is recognised by names and shapes, in words: "mamba, 3 layers, width 96"; or None."""
    counts: Counter[tuple[str, int]] = Counter()
    for _, found in _recognised(checkpoint):
        if found.mixer is not None:
            counts[found.kind, getattr(found.mixer, "model_width", 0)] += 1
    words_of = [
        f"{kind}, {count} layer{'s' * (count > 1)}" + (f", width {width}" if width else "")
        for (kind, width), count in counts.items()
    ]
    return "; ".join(words_of) or None


def _not_run(checkpoint: TensorSource, why: str) -> UnsupportedError:
    weights = given(mode="weights")
    if "model_type" in checkpoint.config:
        message = f"{checkpoint.model_id} cannot be run on tokens: {why}"
        return UnsupportedError(message, hint=weights)
    message = f"{checkpoint.model_id} is a bare state dict, and {why}: tokens cannot be run through"
    return UnsupportedError(message, hint=f"{weights}, or put the model's config.json beside it")


def _unknown_model(checkpoint: TensorSource) -> str | None:
    """What to say where the config names a model that nothing here knows."""
    if "model_type" not in checkpoint.config:
        return None
    unknown = f"its model_type {plain(str(checkpoint.config['model_type']))!r} is not known"
    if "auto_map" in checkpoint.config:
        return f"{unknown}, and code beside the weights is not run"
    return unknown


def _listed(checkpoint: TensorSource) -> tuple[tuple[Layer, ...], WholeModel | str]:
    """The layers under their names in the file, and the model that they make, if any."""
    found = sorted(_recognised(checkpoint), key=lambda each: natural(each[0]))
    layers = tuple(_layer(checkpoint, index, *each) for index, each in enumerate(found))
    return layers, _unknown_model(checkpoint) or whole_model(checkpoint, layers)


def _layer(checkpoint: TensorSource, index: int, path: str, found: Recognised) -> Layer:
    shown = ".".join(part for part in (path, found.inside) if part) or found.kind
    notes = [found.note] if found.note else []
    if "model_type" in checkpoint.config and found.mixer is not None:
        told = plain(str(checkpoint.config["model_type"]))
        notes.insert(0, f"{found.kind} by its parameters' names; model_type {told!r} is not known")
    layer = Layer(
        index,
        shown,
        found.kind,
        found.mixer,
        found.parameters,
        "; ".join(notes) or None,
        file_path=path,
        runs=False,
    )
    check_floating(checkpoint, layer)
    return layer


def _place(layer: Layer) -> list[tuple[int, str]]:
    """Where its module stands in the natural order of names."""
    return natural(layer.path if layer.file_path is None else layer.file_path)


def _running(layer: Layer) -> Layer:
    """A layer of a whole model, under transformers' name of its module."""
    path = f"{BLOCKS}{layer.index}.mixer"
    return Layer(
        layer.index,
        path,
        layer.kind,
        layer.mixer,
        layer.parameters,
        layer.reason,
        file_path=layer.file_path,
    )


def _recognised(checkpoint: TensorSource) -> Iterator[tuple[str, Recognised]]:
    """Every layer with the path of its module."""
    for name in checkpoint.tensors:
        match = MARKS.fullmatch(name)
        if match is not None:
            place = Place(checkpoint, match[1] or "")
            made = (recogniser(place) for recogniser in _RECOGNISERS[match[2]])
            layer = next((each for each in made if each is not None), None)
            if layer is not None:
                yield place.path, layer
