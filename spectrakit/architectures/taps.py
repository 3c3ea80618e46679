"""How the recurrence of a running model's layers is seen, without changing the model.

While a layer's module runs, a *source* records what passes by: the arguments of a scan function,
the inputs and outputs of a submodule, the queries and keys of an attention. When the module has
finished, the layer's *tap* reads the recurrence from what its source recorded.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from spectrakit.errors import UnsupportedError
from spectrakit.scans import fast_scan

if TYPE_CHECKING:
    from torch import nn

    from spectrakit.mixers import Mixer, Observation


@dataclass(frozen=True)
class Call:
    """One call of a watched function: its arguments by name, defaults included, and its result."""

    arguments: Mapping[str, Any]
    output: Any


@dataclass(frozen=True)
class Seen:
    """What passed by while one layer ran.

    module: the layer's own. arguments, output: of the module's forward. calls: what the source
    recorded meanwhile, in order; never empty.
    """

    module: nn.Module
    arguments: Mapping[str, Any]
    output: Any
    calls: Sequence[Call]


#: Takes in one call, which belongs to the layer that is running; ignored where none is.
Record: TypeAlias = Callable[[Call], None]


class Source(Protocol):
    """Where in a running model its layers' recurrences pass by. Sources compare by value."""

    @property
    def description(self) -> str:
        """What it waits for, for an error message: "calls of mamba_selective_scan"."""

    def watch(
        self, model: nn.Module, modules: Sequence[nn.Module], record: Record
    ) -> AbstractContextManager[None]:
        """Record every call while `model` runs; `modules` are those of the layers watched so.

        The model is as before once the context is left.
        """


@dataclass(frozen=True)
class Tap:
    """A source, and how a layer's recurrence is read from what it recorded.

    Tensors arrive in the model's own dtype; `read` widens half precision before logarithms.
    """

    source: Source
    read: Callable[[Mixer, Seen], Observation]


@dataclass(frozen=True)
class FunctionSource:
    """A function that is a global of the modelling files, such as transformers' scan functions.

    Every recurrent mixer of transformers (5.16 and later) calls its scan so, with everything the
    recurrence needs as arguments. Where a faster one computes the same, that is called instead.
    """

    name: str

    @property
    def description(self) -> str:
        """What it waits for."""
        return f"calls of {self.name}"

    @contextmanager
    def watch(
        self,
        model: nn.Module,  # noqa: ARG002  (the protocol's)
        modules: Sequence[nn.Module],
        record: Record,
    ) -> Iterator[None]:
        """Replace the function in the modelling file of every watched module.

        Raises UnsupportedError where a modelling file has no such function.
        """
        with ExitStack() as stack:
            for file in {type(module).__module__ for module in modules}:
                stack.enter_context(self._replaced(file, record))
            yield

    @contextmanager
    def _replaced(self, file: str, record: Record) -> Iterator[None]:
        namespace = sys.modules[file]
        function = getattr(namespace, self.name, None)
        if function is None:
            message = f"there is no {self.name} in {file}"
            raise unknown_transformers(message)
        signature = inspect.signature(function)
        fast = fast_scan(self.name, function)

        def watched(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
            output = fast(*args, **kwargs)
            record(Call(_bound(signature, args, kwargs), output))
            return output

        setattr(namespace, self.name, watched)
        try:
            yield
        finally:
            setattr(namespace, self.name, function)


@dataclass(frozen=True)
class ModuleSource:
    """Calls of a submodule of the layer's own module; "" for the layer's module itself."""

    path: str = ""

    @property
    def description(self) -> str:
        """What it waits for."""
        return f"calls of its {self.path}" if self.path else "calls"

    @contextmanager
    def watch(
        self,
        model: nn.Module,  # noqa: ARG002  (the protocol's)
        modules: Sequence[nn.Module],
        record: Record,
    ) -> Iterator[None]:
        """Hook the submodules. Raises UnsupportedError where a module has none of that name."""

        def hook(
            module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: object
        ) -> None:
            record(Call(forward_arguments(module, args, kwargs), output))

        with ExitStack() as stack:
            for module in modules:
                try:
                    inner = module.get_submodule(self.path)
                except AttributeError as error:
                    message = f"{type(module).__name__} has no submodule {self.path}"
                    raise unknown_transformers(message) from error
                handle = inner.register_forward_hook(hook, with_kwargs=True)
                stack.callback(handle.remove)
            yield


def unknown_transformers(message: str) -> UnsupportedError:
    """The error where a modelling file is not as those of the supported releases are."""
    import transformers

    return UnsupportedError(
        f"transformers {transformers.__version__} is not supported here: {message}",
        hint="pip install 'transformers>=5.16,<6'",
    )


def forward_arguments(
    module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Mapping[str, Any]:
    """The arguments of a module's forward by name, defaults included."""
    return _bound(inspect.signature(module.forward), args, kwargs)


def _bound(
    signature: inspect.Signature, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Mapping[str, Any]:
    call = signature.bind(*args, **kwargs)
    call.apply_defaults()
    return call.arguments


def first(output: Any) -> Any:  # noqa: ANN401  (what a module or a scan returned)
    """The outputs of a call that may return its final state beside them."""
    return output[0] if isinstance(output, tuple) else output
