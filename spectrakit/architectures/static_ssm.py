"""What families of static state space models share: they are recognised by their parameters' names.

S4, S4D, DSS, S5 and LRU come as bare state dicts: the names around a layer are every project's own,
those inside it are the family's. So a layer is a module that holds all the parameters of one, and
layers are numbered in the natural order of their names. Dots or slashes may separate a name's
parts. A does not depend on tokens: weights mode says all there is to say, and nothing here runs a
whole model.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from spectrakit.architectures.bare.marks import MARKS
from spectrakit.architectures.base import Layer, check_parameters
from spectrakit.architectures.config_keys import ConfigKeys, words
from spectrakit.errors import MalformedError, UnsupportedError
from spectrakit.wording import given

if TYPE_CHECKING:
    from spectrakit.architectures.base import RunnableModel
    from spectrakit.architectures.options import Option
    from spectrakit.checkpoints import TensorEntry, TensorSource
    from spectrakit.mixers import Mixer


@dataclass(frozen=True)
class Module:
    """The tensors that lie directly in one module, by the last part of their names."""

    path: str
    tensors: Mapping[str, TensorEntry]

    def has(self, *names: str) -> bool:
        """Whether all of `names` are there."""
        return all(name in self.tensors for name in names)


@dataclass(frozen=True)
class Found:
    """A layer's mixer, the tensors of its roles, and what of it is not read."""

    mixer: Mixer
    parameters: Mapping[str, TensorEntry]
    note: str | None = None


class StaticSSM(ABC):
    """A family of static state space models; see the module.

    A family says which modules are its layers and how they are read.
    """

    name: ClassVar[str]

    @abstractmethod
    def is_layer(self, module: Module) -> bool:
        """Whether `module` holds the parameters of a layer of this family."""

    @abstractmethod
    def read(self, checkpoint: TensorSource, module: Module, parent: Module) -> Found:
        """The layer in `module`; `parent` is the module around its kernel.

        Raises MalformedError where its shapes contradict each other, UsageError where options that
        the weights do not show are not in the config.
        """

    #: Options of the layers, which their weights do not show.
    options: ClassVar[tuple[Option, ...]] = ()

    def config_keys(self, checkpoint: TensorSource) -> ConfigKeys:  # noqa: ARG002
        """The family's options: all else the shapes of its tensors say."""
        return ConfigKeys(
            frozenset(option.key for option in self.options) | _INITIAL, irrelevant=_SIZES
        )

    def claims(self, checkpoint: TensorSource) -> bool:
        """By the names of its tensors; never a checkpoint that names a `model_type`.

        Nor one with layers of other kinds too: `BareModules` lists all of them.
        """
        if "model_type" in checkpoint.config or any(map(MARKS.fullmatch, checkpoint.tensors)):
            return False
        return self.is_in(checkpoint)

    def is_in(self, checkpoint: TensorSource) -> bool:
        """Whether any module is a layer of this family."""
        return any(self.is_layer(module) for module in _modules(checkpoint).values())

    def layers(self, checkpoint: TensorSource) -> tuple[Layer, ...]:
        """Every layer, in the natural order of their names. Raises what `read` raises."""
        return tuple(self._layers(checkpoint))

    def _layers(self, checkpoint: TensorSource) -> Iterator[Layer]:
        modules = _modules(checkpoint)
        found = [module for module in modules.values() if self.is_layer(module)]
        found.sort(key=lambda module: natural(module.path))
        for index, module in enumerate(found):
            around = _around_kernel(module.path)
            read = self.read(checkpoint, module, modules.get(around, Module(around, {})))
            for role, shape in read.mixer.shapes().items():
                check_shape(read.parameters[role], shape)
            layer = Layer(
                index,
                module.path,
                read.mixer.name,
                read.mixer,
                {role: entry.name for role, entry in read.parameters.items()},
                read.note,
                runs=False,
            )
            check_parameters(checkpoint, layer)
            yield layer

    def load(self, checkpoint: TensorSource, device: str, dtype: str = "float32") -> RunnableModel:  # noqa: ARG002
        """Raises UnsupportedError: what lies between the layers is every project's own code."""
        message = (
            f"{checkpoint.model_id} is a bare state dict, and what lies between its layers is not "
            "known; A is the same for every token, so tokens would not change its spectrum"
        )
        raise UnsupportedError(message, hint=given(mode="weights"))


def sizes(entry: TensorEntry, axes: int) -> tuple[int, ...]:
    """The shape of `entry`. Raises MalformedError unless it has `axes` axes, none empty."""
    if len(entry.shape) != axes or 0 in entry.shape:
        message = f"{entry.name} has shape {list(entry.shape)}, expected {axes} axes"
        raise MalformedError(message, hint="another copy of the file")
    return entry.shape


def check_shape(entry: TensorEntry, *allowed: tuple[int, ...]) -> None:
    """Raise MalformedError unless `entry` has a shape that the layer's other sizes allow."""
    if entry.shape not in allowed:
        shapes = " or ".join(str(list(shape)) for shape in dict.fromkeys(allowed))
        message = f"{entry.name} has shape {list(entry.shape)}, the layer's sizes make {shapes}"
        raise MalformedError(message, hint="another copy of the file")


#: What a layer before training is drawn from: see `published_initial_static`.
_INITIAL = words("blocks dt_max dt_min init max_phase measure r_max r_min")
#: What configs of training say that the weights say too, or that no transition depends on.
_SIZES = words(
    """
    H L N P act activation bidirectional blocks_ssm_size d_input d_model d_output d_state depth
    dropout epochs final_act in_dim layer lr n_blocks n_layer n_layers
    n_ssm norm num_classes num_layers postact prenorm rank seed ssm_size transposed vocab_size
    weight_decay
    """
)
_SEPARATOR = re.compile(r"[./]")


def _modules(checkpoint: TensorSource) -> dict[str, Module]:
    """Every module that holds tensors, by its path."""
    modules: dict[str, dict[str, TensorEntry]] = {}
    for name, entry in checkpoint.tensors.items():
        end = max(name.rfind("."), name.rfind("/"))
        modules.setdefault(name[: max(end, 0)], {})[name[end + 1 :]] = entry
    return {path: Module(path, tensors) for path, tensors in modules.items()}


def _around_kernel(path: str) -> str:
    """The module whose convolution kernel this one computes: `x` of `x.kernel.kernel`."""
    while _SEPARATOR.split(path)[-1] == "kernel":
        path = path[: -len("kernel")].rstrip("./")
    return path


def natural(path: str) -> list[tuple[int, str]]:
    """Sorts layer 10 after layer 9."""
    return [
        (int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", path)
    ]
