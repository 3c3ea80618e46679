"""A checkpoint: what it says about itself, and its tensors when they are asked for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from spectrakit.checkpoints.byte_sources import Advance, Fetched, Span, coalesce
from spectrakit.checkpoints.described import Described
from spectrakit.checkpoints.fingerprint import WHOLE_BYTES, LocalContent
from spectrakit.checkpoints.parts import WHOLE, Part, plain_name
from spectrakit.errors import UsageError
from spectrakit.progress import Progress, Silent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    import torch

    from spectrakit.checkpoints.entries import CheckpointFile, TensorEntry
    from spectrakit.checkpoints.stores import Store
    from spectrakit.checkpoints.weights import WeightFile

Origin = Literal["hub", "local", "catalog", "memory"]


@dataclass(frozen=True)
class Identity:
    """Who a checkpoint is. A `revision` of None stands for the content's fingerprint.

    source: what opens it again, with `part`.
    """

    model_id: str
    source: str
    origin: Origin
    revision: str | None = None
    tokenizer: str | None = None
    part: Part = WHOLE


class Checkpoint(Described):
    """Config, tensor index and lazily read tensors of one model. Close it, or use it with `with`.

    Opened by `open_checkpoint`; nothing but headers has been read then.
    """

    source: str  #: where it came from, for people
    origin: Origin
    files: tuple[CheckpointFile, ...]
    tensors: Mapping[str, TensorEntry]  #: by name, merged over the shards, tied names included
    tokenizer: str | None  #: the tokenizer that the catalog names for this model
    module: None = None  #: see `TensorSource`
    borrowed: bool = False  #: likewise

    def __init__(
        self,
        identity: Identity,
        content: LocalContent,
        *,
        config: Mapping[str, Any],
        store: Store,
        weights: Iterable[WeightFile],
        tensors: Mapping[str, TensorEntry],
        progress: Progress,
        localized: Callable[[], Checkpoint] | None = None,
    ) -> None:
        """Use `open_checkpoint`."""
        super().__init__(identity.model_id, config)
        self.source = identity.source
        self.origin = identity.origin
        self.part = identity.part
        self._content = content
        self._revision = identity.revision
        self._fingerprints: dict[frozenset[str] | None, str] = {}
        self.tensors = tensors
        self._stored = tensors
        self._names: Mapping[str, str] = {}
        self.tokenizer = identity.tokenizer
        self._store = store
        self._weights = {weight_file.file.path: weight_file for weight_file in weights}
        self._progress = progress
        self._localized = localized
        self.files = tuple(weight_file.file for weight_file in self._weights.values())

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Checkpoint({self.model_id!r}, {self.source!r}, {len(self.tensors)} tensors)"

    @property
    def bytes_read(self) -> int:
        """Bytes read so far, headers and config included."""
        return self._store.traffic.bytes_read

    @property
    def remote_files(self) -> tuple[CheckpointFile, ...]:
        """The weight files that are not on this disk, and are read from the Hub."""
        return tuple(each.file for each in self._weights.values() if each.source.remote)

    @property
    def requests(self) -> int:
        """Requests made so far to the Hub; for local files, reads."""
        return self._store.traffic.requests

    @property
    def revision(self) -> str:
        """Full commit sha on the Hub, otherwise `local-<12 hex>` of the content, read when asked.

        Every byte of the files is; see `revision_of`.
        """
        return self.revision_of(None)

    def revision_of(self, names: Iterable[str] | None) -> str:
        """The revision as far as the tensors `names` tell; None for every byte of the files.

        On the Hub the commit, whatever is read. Local files of at most 16 MiB are hashed whole; of
        larger ones it is `local-part-<12 hex>` of what describes the tensors, of these tensors'
        whole content and of samples: see `spectrakit.checkpoints.fingerprint`.

        Raises what `read` does.
        """
        if self._revision is not None:
            return self._revision
        content = self._content
        whole = names is None or content.size <= WHOLE_BYTES
        key = None if whole else frozenset(names or ())
        if key not in self._fingerprints:
            if key is None:
                what = f"hashing {self.model_id}"
                with self._progress.task(what, total=content.size, unit="B") as task:
                    self._fingerprints[key] = content.whole(task.advance)
            else:
                self._fingerprints[key] = content.part(self._contents(sorted(key)))
        return self._fingerprints[key]

    @property
    def commit(self) -> str | None:
        """See `Described`."""
        return self._revision if self.origin == "hub" else None

    @property
    def headers_fingerprint(self) -> str:
        """`headers-<12 hex>` of config, tensor names, shapes, places; reads no tensor.

        See `spectrakit.checkpoints.fingerprint`.
        """
        return self._content.headers()

    def rename(self, names: Mapping[str, str]) -> None:
        """Call tensors by other names, those of the files by the new ones; leave all others out."""
        stored = {name: self._names.get(old, old) for name, old in names.items()}
        self._names = stored
        self.tensors = {name: replace(self._stored[old], name=name) for name, old in stored.items()}

    def stored_name(self, name: str) -> str:
        """What the files call the tensor `name`."""
        return self._names.get(name, name)

    def read(self, names: Iterable[str]) -> dict[str, torch.Tensor]:
        """The tensors `names`, bit for bit as stored: dtype, shape and strides.

        One call is one batch: near ranges are read together, far ones at the same time. The tensors
        stay valid after `close`; those that share bytes in the file share memory here.

        Raises `UsageError` for a name that is not in `tensors`, `MalformedError` for a damaged
        file and for a tensor that something pickled holds which is not loaded, `UnsupportedError`
        for a dtype that is not read here, `NetworkError` when the Hub cannot be read.
        """
        from spectrakit.checkpoints.materialize import tensor_of

        names = dict.fromkeys(names)
        wanted = self._by_file(names)
        total = sum(span.length for file in wanted for span in self._spans(file, wanted[file]))
        remote = any(self._weights[file].source.remote for file in wanted)
        progress = self._progress if remote else Silent()  # this disk is not worth a bar
        with progress.task(f"reading {self.model_id}", total=total, unit="B") as task:
            found = {
                entry.name: tensor_of(entry, data)
                for file, entries in wanted.items()
                for entry, data in self._fetched(file, entries, task.advance)
            }
        return {name: found[self._names.get(name, name)] for name in names}

    def _fetched(
        self, file: str, entries: Sequence[TensorEntry], advance: Advance
    ) -> Iterator[tuple[TensorEntry, memoryview]]:
        """Tensors of one file, in one batch: each at its exact place, with its bytes."""
        for entry in entries:
            entry.check_readable()
        weight_file = self._weights[file]
        fetched = Fetched(weight_file.source, self._spans(file, entries), advance)
        for entry in entries:
            yield weight_file.content(entry, fetched)

    def _contents(self, names: Iterable[str]) -> Iterator[tuple[str, memoryview]]:
        """The bytes of the tensors `names`, one tensor in memory at a time."""
        for file, entries in self._by_file(names).items():
            for entry in entries:
                for exact, data in self._fetched(file, [entry], lambda _: None):
                    yield exact.name, data

    def cost(self, names: Iterable[str]) -> int:
        """Bytes that `read(names)` would move, the gaps between near tensors included; no I/O."""
        wanted = self._by_file(names)
        return sum(span.length for file in wanted for span in self._spans(file, wanted[file]))

    def file_path(self, filename: str) -> Path | None:
        """A small side file (`tokenizer.json`, ...) as a path on this disk, or None without one.

        From the Hub it is downloaded into the ordinary cache. Raises `UsageError` unless `filename`
        is a plain name, `NetworkError` when it cannot be had.
        """
        try:
            plain_name(filename)
        except ValueError as error:
            raise UsageError(str(error)) from error
        return self._store.path(filename)

    def localize(self) -> Checkpoint:
        """This checkpoint with its weight files on this disk: itself, unless they are on the Hub.

        Downloads what the Hub's cache does not have yet. Raises `NetworkError`.
        """
        if self._localized is None:
            return self
        local = self._localized()
        local.configure(self.given)
        if self._names:
            local.rename(self._names)
        return local

    def close(self) -> None:
        """Let go of the files. Tensors that were read stay valid."""
        for weight_file in self._weights.values():
            weight_file.source.close()

    def _check_there(self, names: Iterable[str]) -> None:
        for name in names:
            if name not in self.tensors:
                raise UsageError(f"{self.model_id} has no tensor {name!r}")

    def _by_file(self, names: Iterable[str]) -> dict[str, list[TensorEntry]]:
        wanted: dict[str, list[TensorEntry]] = {}
        names = list(dict.fromkeys(names))
        self._check_there(names)
        for name in names:
            entry = self._stored[self._names.get(name, name)]
            wanted.setdefault(entry.file, []).append(entry)
        return wanted

    def _spans(self, file: str, entries: Iterable[TensorEntry]) -> list[Span]:
        needs = self._weights[file].needs
        return coalesce(span for entry in entries for span in needs(entry))
