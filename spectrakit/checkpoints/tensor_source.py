"""What architectures read: a config, and tensors by name, wherever they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from torch import Tensor, nn

    from spectrakit.checkpoints.entries import TensorEntry


class TensorSource(Protocol):
    """The config of a model, its tensors' names and shapes, and those tensors that are asked for.

    A `Checkpoint` is one, and so are `TensorsInMemory`.
    """

    @property
    def model_id(self) -> str:
        """What the model is called."""

    @property
    def config(self) -> Mapping[str, Any]:
        """Its config, as a config.json has it."""

    @property
    def tensors(self) -> Mapping[str, TensorEntry]:
        """Names, shapes and dtypes."""

    @property
    def module(self) -> nn.Module | None:
        """The model itself, whose tensors these are; None of files and of state dicts.

        Its tensors' names are then the paths of its modules.
        """

    @property
    def borrowed(self) -> bool:
        """Whether what `read` gives is memory of the user's own, and so must stay as it is."""

    def read(self, names: Iterable[str]) -> dict[str, Tensor]:
        """The tensors `names`, on the CPU, with their own dtypes and shapes.

        Raises `UsageError` for a name that is not in `tensors`, `MalformedError` or
        `UnsupportedError` where its values cannot be had.
        """

    def localize(self) -> TensorSource:
        """The same, on this machine: itself, unless it is on the Hub."""
