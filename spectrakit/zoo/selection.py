"""From what a user types to the models of a batch."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Iterator, Sequence
from glob import iglob
from pathlib import Path
from typing import TYPE_CHECKING

from spectrakit import catalog
from spectrakit.catalog.repo_ids import is_repo_id
from spectrakit.checkpoints.access import HubAccess
from spectrakit.checkpoints.opening import repo_and_path
from spectrakit.checkpoints.shards import FORMATS, is_weights
from spectrakit.errors import UsageError
from spectrakit.wording import did_you_mean
from spectrakit.zoo.candidates import Candidate, distinct, entries_of
from spectrakit.zoo.folders import checkpoints_in
from spectrakit.zoo.hub_listing import models_in_collection, models_of
from spectrakit.zoo.hub_names import SCHEME, WILDCARDS, HubName, hub_name, is_address
from spectrakit.zoo.listed import Listed, said_at
from spectrakit.zoo.lists import read_list
from spectrakit.zoo.overrides import Overrides
from spectrakit.zoo.paths import begun_in, called_after, called_within, exists, is_file

if TYPE_CHECKING:
    from spectrakit.catalog import CatalogEntry, CatalogFilters
    from spectrakit.spec import RunSpec
    from spectrakit.zoo.entries import Entry

logger = logging.getLogger("spectrakit")

#: How lists are called, and other files that are no model.
_LISTS = (".txt", ".csv", ".tsv", ".toml", ".json", ".md")
#: How like a catalog name a word must be to be a misspelling of it: openai's gpt2 is not gpt2-xl.
_MISSPELT = 0.8
#: Words beyond these are not compared with the catalog, which takes a millisecond each.
_MOST_COMPARED = 200


def select(
    targets: Sequence[str],
    base: RunSpec,
    *,
    filters: CatalogFilters | None = None,
    access: HubAccess | None = None,
) -> list[Entry]:
    """The models that `targets` name, each with its settings and a name for its run.

    A target is, in this order: an address of the Hub (`hf://AUTHOR`, `hf://AUTHOR/*mamba*`,
    `hf://collections/OWNER/SLUG`), a folder of checkpoints, a weight file or a list that exists, a
    pattern of the catalog, a catalog name or a repository.

    base: the settings of the command line; those of a list win over them. filters: what entries of
    the catalog must be that a pattern finds; without targets, of all. access: how the Hub is used.

    The order is that of the targets. A model named twice with the same settings is run once.

    Raises UsageError for what means no model, with what was probably meant; UsageError and
    MalformedError for a list that is none; NetworkError where the Hub cannot be asked.
    """
    if not targets and filters is None:
        raise UsageError("no models are named", hint="spectrakit batch models.txt, or '*mamba*'")
    chooser = _Chooser(base, filters, access or HubAccess())
    chosen = distinct(each for target in targets or ("*",) for each in chooser.target(target))
    if filters is not None and not chooser.asked_catalog:
        message = "the filters choose from the catalog, and none of its patterns is named"
        raise UsageError(message, hint="add '*' for all of the catalog, or leave the filters out")
    return entries_of(chosen)


class _Chooser:
    """Finds the models that a target means."""

    def __init__(self, base: RunSpec, filters: CatalogFilters | None, access: HubAccess) -> None:
        self.asked_catalog = False
        self._filters = filters
        self._access = access
        self._overrides = Overrides(base)
        self._known: dict[str, CatalogEntry] = {}
        for entry in catalog.entries():
            self._known.setdefault(entry.repo or entry.name, entry)
        self._known |= {entry.name: entry for entry in catalog.entries()}
        self._compared = 0

    def target(self, text: str) -> Iterator[Candidate]:
        """The models that one word of the command line means."""
        if is_address(text) or not is_file(text) or is_weights(Path(text).name):
            with said_at(str):
                yield from self._models(Listed(text, self._overrides.base))
            return
        found = False
        for listed in read_list(Path(text), self._overrides):
            with said_at(listed.where):
                yield from self._models(listed)
                found = True
        if not found:
            raise UsageError(f"{text} names no model", hint="one model a line: tiny-mamba")

    def _models(self, listed: Listed) -> Iterator[Candidate]:
        """The models of one line, with its settings and its revision."""
        found = list(self._found(listed))
        if listed.name is not None and len(found) > 1:
            message = (
                f"{listed.target} is {len(found):,} models, which cannot all be {listed.name!r}"
            )
            raise UsageError(message, hint="leave the name out")
        for each in found:
            yield each if listed.name is None else each._replace(name=listed.name)

    def _found(self, listed: Listed) -> Iterator[Candidate]:
        text = listed.target
        if is_address(text):
            return self._on_hub(listed)
        path = begun_in(listed.folder, text)
        if exists(path):
            return self._on_disk(path, listed)
        stem, revision = _with_revision(text, listed.revision)
        if any(wildcard in stem for wildcard in WILDCARDS):
            return self._matching(stem, listed._replace(revision=revision))
        return iter([self._by_name(stem, listed._replace(revision=revision))])

    # a target of each kind

    def _on_hub(self, listed: Listed) -> Iterator[Candidate]:
        found = hub_name(listed.target)
        revision = _one_revision(listed.target, found.revision, listed.revision)
        for name in self._repositories(found):
            yield _of_hub(name, listed, revision)

    def _repositories(self, found: HubName) -> list[str]:
        if found.kind == "model":
            return [found.name if found.path is None else f"{SCHEME}{found.name}/{found.path}"]
        if found.kind == "author":
            return models_of(found.name, found.pattern, self._access)
        return models_in_collection(found.name, self._access)

    def _on_disk(self, text: str, listed: Listed) -> Iterator[Candidate]:
        path = Path(text)
        if listed.revision is not None:
            message = f"{listed.target} is on this disk and has no revision {listed.revision!r}"
            raise UsageError(message, hint="a copy of that revision has a path of its own")
        spec = listed.settings.spec
        if path.is_dir() and (spec.file is not None or spec.subfolder is not None):
            shown = called_after(listed.target)
            yield Candidate(str(path.absolute()), shown, listed.settings)
            return
        if path.is_dir():
            for found in checkpoints_in(path):
                shown = called_within(found, path, listed.target)
                yield Candidate(str(found.absolute()), shown, listed.settings)
            return
        if not path.is_file():
            raise UsageError(f"{listed.target} is neither a folder nor a file")
        if not is_weights(path.name):
            message = f"{listed.target} is not a weight file, and a list names no other list"
            raise UsageError(message, hint=f"weights end with {', '.join(FORMATS)}")
        yield Candidate(str(path.absolute()), called_after(listed.target), listed.settings)

    def _matching(self, pattern: str, listed: Listed) -> Iterator[Candidate]:
        self.asked_catalog = True
        found = catalog.matching(pattern, self._filters)
        if not found:
            raise self._no_match(pattern, listed)
        for entry in found:
            yield _of_catalog(entry, listed, listed.revision if entry.repo else None)

    def _by_name(self, name: str, listed: Listed) -> Candidate:
        entry = self._known.get(name)
        if entry is not None:
            if entry.repo is None and listed.revision is not None:
                message = f"{name} ships with spectrakit and has no revision {listed.revision!r}"
                raise UsageError(message, hint="leave the revision out")
            return _of_catalog(entry, listed, listed.revision)
        if repo_and_path(name)[1] is not None:
            return _of_hub(name, listed, listed.revision)
        if name.startswith((".", "/", "~")) or name.lower().endswith((*FORMATS, "/", *_LISTS)):
            begin = listed.folder or Path.cwd()
            message = f"there is no file or folder {listed.target!r}"
            raise UsageError(message, hint=f"relative paths begin in {begin}")
        if not is_repo_id(name):
            message = (
                f"{listed.target!r} is neither a file, a folder, a catalog name nor a repository"
            )
            raise UsageError(
                message, hint=did_you_mean(name, self._known) or "spectrakit catalog list"
            )
        if "/" not in name and listed.revision is None:
            self._check_spelling(name)
        return _of_hub(name, listed, listed.revision)

    # what was probably meant

    def _check_spelling(self, name: str) -> None:
        """Raise UsageError for a word that is nearly a catalog name: few models have no author."""
        self._compared += 1
        if self._compared > _MOST_COMPARED:
            return
        names = {known.lower(): known for known in self._known}
        near = difflib.get_close_matches(name.lower(), list(names), n=1, cutoff=_MISSPELT)
        if near:
            hint = (
                f"did you mean {names[near[0]]}? The Hub's model of the other name is {name}@main"
            )
            raise UsageError(f"unknown model {name!r}", hint=hint)

    def _no_match(self, pattern: str, listed: Listed) -> UsageError:
        message = f"no model of the catalog matches {pattern!r}"
        if self._filters is not None and catalog.matching(pattern):
            return UsageError(f"{message} and the filters", hint="spectrakit catalog list")
        if listed.folder is None and next(iglob(pattern), None):  # noqa: PTH207
            hint = f"for files, without quotes: spectrakit batch {pattern}"
            return UsageError(message, hint=hint)
        word = pattern.translate(str.maketrans("", "", f"{WILDCARDS}]")) or pattern
        return UsageError(
            message, hint=did_you_mean(word, self._known) or "spectrakit catalog list"
        )


def _of_catalog(entry: CatalogEntry, listed: Listed, revision: str | None) -> Candidate:
    if entry.file is not None or entry.config:
        # Its repository holds other models too, or does not say what the entry says.
        model = entry.address if exists(entry.name) else entry.name
        return Candidate(model, entry.name, listed.settings, revision, on_hub=True)
    if entry.repo is not None:
        return _of_hub(entry.repo, listed, revision)
    # A folder of the same name in the working directory would be opened in its place.
    model = str(entry.folder) if exists(entry.name) else entry.name
    return Candidate(model, entry.name, listed.settings)


def _of_hub(repo_id: str, listed: Listed, revision: str | None) -> Candidate:
    model = f"hf://{repo_id}" if exists(repo_id) else repo_id
    shown = repo_id.removeprefix(SCHEME)
    return Candidate(model, shown, listed.settings, revision, on_hub=True)


def _with_revision(text: str, revision: str | None) -> tuple[str, str | None]:
    stem, _, own = text.partition("@")
    return (stem if own else text), _one_revision(text, own or None, revision)


def _one_revision(text: str, own: str | None, said: str | None) -> str | None:
    if own is not None and said is not None and own != said:
        raise UsageError(f"{text} is asked for at another revision too: {said!r}")
    return own or said
