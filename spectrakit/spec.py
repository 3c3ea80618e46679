"""The run object: everything that decides a run's numbers, said once.

A `RunSpec` comes from the command line, from a spec file or from the keywords of `analyze`. From it
follow what `run.json` records, the name of the run's folder, the key by which a finished run is
known again, and in what two runs differ.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from spectrakit.errors import UsageError
from spectrakit.options import Help, Options, Setting, json_value, option, options_of, settings
from spectrakit.settings import AskedGauge, AskedMode, Compat, Dtype, Randomized
from spectrakit.token_options import TokenOptions
from spectrakit.wording import named

#: Settings that say, besides its name, which model is meant.
WHICH = ("revision", "file", "subfolder", "key")

O = TypeVar("O", bound=Options)  # noqa: E741

#: Fields of a spec that say which model it is and where and how it is read, as folders of runs do.
_IDENTITY = frozenset({"model", "revision", "file", "subfolder", "mode", "device"})


@dataclass(frozen=True, kw_only=True)
class RunSpec:
    """What is analysed, and how.

    model: what `open_checkpoint` takes. config: values put over those of the model's config.
    analyses: by name. options: of the analyses, a group once at most; groups that are not here are
    at their defaults. source: what data mode reads. The other fields are options of their own.

    Raises UsageError for a value that is none, and for settings that exclude each other.
    """

    model: str
    revision: str | None = option(None, "Branch, tag or commit.")
    file: str | None = option(
        None,
        Help(
            "Path of the one weight file to read in a repository or folder, whatever it is called.",
            metavar="PATH",
        ),
        compared=False,
    )
    subfolder: str | None = option(
        None,
        Help(
            "Path of the folder in a repository or folder that holds the model; config and "
            "tokenizer that it lacks are taken from the folders around it.",
            metavar="DIR",
        ),
        compared=False,
    )
    at: int | None = option(
        None,
        Help("Step of a training run whose folder MODEL is.", unset="the newest"),
        at_least=0,
    )
    key: str | None = option(
        None,
        Help("Which model of a file that holds several, as ema.", unset="the only one"),
    )
    config: Mapping[str, Any] = field(default_factory=dict)
    mode: AskedMode = option("auto", "weights reads a few MB; data runs the model; auto chooses.")
    analyses: tuple[str, ...] = option(
        ("spectrum",),
        "Analyses to run, by name, separated by commas; or all, which leaves out those that run "
        "the model again (empirical_memory, perturbation) or ask it prompts (probe), and "
        "rickenbach2025, which compat adds. Name them beside it: all,probe.",
        compared=False,
    )
    options: tuple[Options, ...] = ()
    source: TokenOptions = field(default_factory=TokenOptions)
    device: str = option("auto", "auto, cpu, cuda, cuda:1, ...", data_mode=True)
    dtype: Dtype = option(
        "float32",
        "Type of the weights and the forward pass; half precision loses memory.",
        data_mode=True,
    )
    gauge: AskedGauge | None = option(
        None,
        Help(
            "Scaling of the state of layers with a normaliser (attention): dsf has it in A, "
            "unnormalised in C; in retained λ is the share of what is read that comes from before.",
            unset="dsf and retained for attention, else each layer's own",
        ),
        data_mode=True,
    )
    compat: Compat | None = option(
        None,
        Help(
            "See the layers as the released analysis of arXiv 2510.09379 does, departures from its "
            "mathematics included, and add its table.",
            unset="exact",
        ),
    )
    randomize: Randomized | None = option(
        None,
        Help(
            "Draw the weights anew, as training started from them: a control.",
            unset="the trained weights",
        ),
    )
    seed: int = option(0, "Random seed.", at_least=0)

    def __post_init__(self) -> None:
        for setting in settings(RunSpec):
            setting.check(getattr(self, setting.name))
        if others := [each for each in self.options if not isinstance(each, Options)]:
            message = f"options are objects of a class of options, not {others[0]!r}"
            raise UsageError(message, hint="options=[MemoryOptions(horizon=1024)]")
        groups = [options.group for options in self.options]
        if twice := [group for group in groups if groups.count(group) > 1]:
            raise UsageError(f"the options of {twice[0]} are given twice")
        if self.compat is not None and self.gauge is not None:
            message = f"{named('compat')} has the gauge of what was released"
            raise UsageError(message, hint=f"leave {named('gauge')} out")

    @property
    def opened(self) -> str:
        """What `open_checkpoint` is given: the model, and the step of a training run's folder."""
        return self.model if self.at is None else f"{self.model}@{self.at}"

    @property
    def which(self) -> dict[str, str | None]:
        """The settings that say, besides its name, which model is meant."""
        return {name: getattr(self, name) for name in WHICH}

    @property
    def all_analyses(self) -> tuple[str, ...]:
        """Those that are asked for, with the one that `compat` adds."""
        return self.analyses if self.compat is None else (*self.analyses, self.compat)

    def options_of(self, kind: type[O]) -> O:
        """The options of one class; its defaults where none were given."""
        return options_of(self.options, kind)

    def record(self) -> dict[str, Any]:
        """The spec as JSON values: what `run.json` holds, and a spec file may."""
        found: dict[str, Any] = {}
        for each in dataclasses.fields(self):
            value = getattr(self, each.name)
            if each.name == "options":
                value = {options.group: options.record() for options in value}
            elif isinstance(value, Options):
                value = value.record()
            found[each.name] = json_value(value)
        return found

    def settings(self) -> Iterator[tuple[str, Setting, Any]]:
        """Every setting with its value, by the name it has in records: see `Manifest.settings`."""
        groups = ((f"{options.group}.", options) for options in self.options)
        for group, holder in (("", self), ("", self.source), *groups):
            for setting in settings(type(holder)):
                yield group + setting.name, setting, getattr(holder, setting.name)

    def changed(self) -> dict[str, Any]:
        """The settings besides model, mode and device that are not at their defaults.

        By name, as JSON values. What is in a file counts by its content, which is not here: see
        `digest`.
        """
        found = {"config": dict(self.config)} if self.config else {}
        for name, setting, value in self.settings():
            if name not in _IDENTITY and value != setting.default:
                found[name] = json_value(value)
        return found

    def digest(self, contents: Mapping[str, str | None]) -> str:
        """A hash of what decides its numbers: with the model's revision the key of a run.

        contents: the hash of each file that is read, by the name of its setting; its path then
        counts for nothing.
        """
        told = self.changed() | {"mode": self.mode}
        told |= {name: sha for name, sha in contents.items() if sha is not None}
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
