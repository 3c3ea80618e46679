"""What a model says about itself, and what the user says in its place."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from spectrakit.checkpoints.parts import WHOLE, Part

if TYPE_CHECKING:
    from collections.abc import Mapping


class Described:
    """The config of a model, with what `configure` put over it."""

    model_id: str  #: Hub repository, catalog name, or the name of a folder, a file or a model
    config: Mapping[str, Any]  #: the model's own, with what `configure` put over it
    given: Mapping[str, Any]  #: that alone
    key: str | None = None  #: which of the models in the file was chosen
    part: Part = WHOLE  #: which file or folder of what `source` names was asked for
    around: str = ""  #: what stood before the tensors' names, and was taken off

    def __init__(self, model_id: str, config: Mapping[str, Any]) -> None:
        self.model_id = model_id
        self.config = config
        self._own_config = config
        self.given = {}

    @property
    def commit(self) -> str | None:
        """The commit on the Hub by which it is opened again; None of what is not there."""
        return None

    @property
    def overridden(self) -> Mapping[str, Any]:
        """What `configure` put over the model's own config and is not the same there."""
        own = self._own_config
        return {
            key: value
            for key, value in self.given.items()
            if key not in own or json.dumps(own[key]) != json.dumps(value)
        }

    def configure(self, values: Mapping[str, Any]) -> None:
        """Put `values` into the config, over the model's own: what that does not say.

        A key SECTION.KEY is that of a section, whose other keys stay.
        """
        self.given = {**self.given, **values}
        for key, value in values.items():
            self.config = _with(self.config, key, value)


def _with(config: Mapping[str, Any], key: str, value: object) -> dict[str, Any]:
    """`config` with `value` for `key`, which may be a dotted one."""
    section, dot, inner = key.partition(".")
    if not dot:
        return {**config, key: value}
    inside = config.get(section)
    return {**config, section: _with(inside if isinstance(inside, dict) else {}, inner, value)}
