"""Data sets of the Hub, by the library `datasets`.

    ORG/NAME            the newest; ORG/NAME@REVISION one commit, branch or tag
    ./FOLDER            a folder in the layout of one: data/train-00000-of-00001.parquet

Nothing of a data set is run: `datasets` reads its files alone since version 4.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import Field, model_validator

from spectrakit.errors import MalformedError, NetworkError, UsageError
from spectrakit.training.data.base import TaskOptions

_INSTALL = "pip install 'spectrakit[train]'"


class HubOptions(TaskOptions):
    """A task whose data may come from the Hub, in the place of a path."""

    hub: str | None = Field(
        None,
        description="A data set of the Hub, ORG/NAME or ORG/NAME@REVISION, in the place of a path.",
    )
    hub_config: str | None = Field(
        None, description="Which configuration of it, where it has several."
    )

    @model_validator(mode="after")
    def _from_one_place(self) -> HubOptions:
        if self.hub is not None and getattr(self, "path", None) is not None:
            raise ValueError("path and hub are two places; one is enough")
        if self.hub is None and "hub_config" in self.model_fields_set:
            raise ValueError("hub_config is of a data set that hub names")
        return self


def hub_rows(options: HubOptions, split: str, columns: Sequence[Sequence[str]]) -> Iterator[Any]:
    """The rows of a split, a tuple each: of every column the first name that there is.

    Raises UsageError where `datasets` is not installed, or there is no such data set, split or
    column; NetworkError where the Hub cannot be reached; MalformedError where files are damaged.
    """
    address = str(options.hub)
    name, _, revision = address.partition("@")
    rows = _loaded(name, revision or None, options.hub_config, split)
    chosen = []
    for names in columns:
        there = [each for each in names if each in rows.column_names]
        if not there:
            message = f"{address} has no column {names[0]}; it has: {', '.join(rows.column_names)}"
            raise UsageError(message, hint="another data set of that kind with task.hub=")
        chosen.append(there[0])
    try:
        for row in rows.select_columns(chosen):
            yield tuple(row[each] for each in chosen)
    except (OSError, ValueError) as error:  # an image that is none, for one
        message = f"{address}, {split}: a row cannot be read: {error}".splitlines()[0]
        raise MalformedError(message) from error


def _loaded(name: str, revision: str | None, config: str | None, split: str) -> Any:  # noqa: ANN401
    try:
        import datasets
    except ImportError as error:
        message = "data sets of the Hub are read with the library datasets, which is not installed"
        raise UsageError(message, hint=_INSTALL) from error
    datasets.disable_progress_bars()
    try:
        return datasets.load_dataset(name, config, revision=revision, split=split)
    except ConnectionError as error:
        message = f"the data set {name} cannot be reached: {error}".splitlines()[0]
        hint = "once more with a network, or task.path= of data on this disk"
        raise NetworkError(message, hint=hint) from error
    # Of data sets, configurations and splits that there are not, and of files that are damaged:
    # errors of many kinds, pyarrow's among them.
    except Exception as error:
        message = f"the data set {name} cannot be read: {error}".splitlines()[0]
        raise UsageError(message, hint="task.hub=ORG/NAME, task.hub_config=NAME") from error
    finally:
        datasets.enable_progress_bars()
