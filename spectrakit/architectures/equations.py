"""Whose equations are followed where the transformers library and a model's own code differ.

A port may compute something else than the code a model was trained and published with. Each such
place is declared beside the architecture that meets it, as a `Departure`: the page of what is
covered lists them all, and a run in which one matters says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from spectrakit.architectures.base import Architecture
    from spectrakit.checkpoints import TensorSource


#: Whose equation is used.
Followed: TypeAlias = Literal["the published model", "transformers"]


def _always(config: Mapping[str, Any]) -> bool:  # noqa: ARG001  (a `Departure.matters`)
    return True


@dataclass(frozen=True)
class Departure:
    """A place where transformers and the model's own code differ.

    model_types: whose place it is. what: the quantity. own: what the model's own code computes, and
    where that was read. port: what transformers computes, with its version. follows: whose equation
    is used here, in either mode. why: the reason. matters: whether a model with this config (of the
    language model, in the architecture's present key names) comes out differently.
    """

    model_types: tuple[str, ...]
    what: str
    own: str
    port: str
    follows: Followed
    why: str
    matters: Callable[[Mapping[str, Any]], bool] = _always

    @property
    def note(self) -> str:
        """What a run says of it."""
        other = "transformers" if self.follows == "the published model" else "the published model"
        return f"equations: {self.what} follows {self.follows}, not {other}; {self.port}"


def departures(architecture: Architecture) -> tuple[Departure, ...]:
    """Those that `architecture` declares; none need be."""
    found: tuple[Departure, ...] = getattr(architecture, "departures", ())
    return found


def equations_notes(architecture: Architecture, checkpoint: TensorSource) -> tuple[str, ...]:
    """What a run of `checkpoint` has to say of whose equations it follows."""
    declared = departures(architecture)
    if not declared:
        return ()
    configured = getattr(architecture, "config", None)
    config = (checkpoint if configured is None else configured(checkpoint)).config
    model_type = checkpoint.config.get("model_type")
    return tuple(
        departure.note
        for departure in declared
        if model_type in departure.model_types
        and departure.follows == "the published model"
        and departure.matters(config)
    )
