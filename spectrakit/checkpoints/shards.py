"""Which files of a folder or repository hold the weights."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from spectrakit.checkpoints.content import GGUF, SAFETENSORS, TORCH_ZIP, is_torch_zip
from spectrakit.checkpoints.parts import plain_name
from spectrakit.checkpoints.stores import LocalFolder, Store, parse_json
from spectrakit.errors import MalformedError, UnsupportedError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

DCP = "dcp"
DCP_METADATA = ".metadata"
_DCP_FILE = ".distcp"
#: What names of weight files promise; their content decides.
FORMATS = {
    ".safetensors": SAFETENSORS,
    ".bin": TORCH_ZIP,
    ".pt": TORCH_ZIP,
    ".pth": TORCH_ZIP,
    ".ckpt": TORCH_ZIP,
    ".gguf": GGUF,
}

#: What the name of a file ends with that says which tensors are in which weight file.
INDEX = ".index.json"
_PREFERRED = (
    "model.safetensors.index.json",
    "model.safetensors",
    "pytorch_model.bin.index.json",
    "pytorch_model.bin",
)
#: Files of training programs that end like weights and are none: states of optimizers, schedulers,
#: scalers, samplers and random generators, of one process or of each.
_NOT_WEIGHTS = re.compile(
    r"training_args\.bin|meta\.pt|common\.pt"
    r"|(optimizer|scheduler|scaler|sampler|dl_state_dict|random_states|rng_state)(_\d+)*\.(bin|pt|pth)"
    r"|.*_optim_states\.pt"
)
#: A part of a GGUF file that was split.
_PART = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.gguf")
_UNREAD = {
    ".h5": "TensorFlow",
    ".msgpack": "Flax",
    ".onnx": "ONNX",
    ".npz": "NumPy",
}


_MOST_LOOKED_INTO = 256


class NoWeightsError(UnsupportedError):
    """There is no weight file of any kind."""


class SeveralFilesError(UnsupportedError):
    """There are several weight files, and nothing says which is meant or that they are one."""


class MissingShardError(MalformedError):
    """The index names a weight file that is not there."""

    def __init__(self, index: str, shard: str) -> None:
        super().__init__(
            f"{index} names the shard {shard}, which is not there",
            hint="download the missing shard; every file that the index names is needed",
        )
        self.shard = shard


@dataclass(frozen=True)
class WeightFiles:
    """The weight files and, when an index names them, the file that each tensor is in.

    format: what their names promise; None where only their content can say.
    """

    files: tuple[str, ...]
    format: str | None
    index: str | None = None
    placed: Mapping[str, str] = field(default_factory=dict)


def is_weights(name: str) -> bool:
    """Whether a file of this name has weights, in a format that is read here."""
    return _format(name) is not None and not _NOT_WEIGHTS.fullmatch(name)


def weight_files(store: Store, only: str | None = None) -> WeightFiles:
    """The weight files of `store`, safetensors before pickles, an index before a single file.

    Raises `UnsupportedError` when there is none, or none of a format that is read here, and
    `MalformedError` for an index that is unsafe or incomplete.
    """
    if only is not None:
        if _PART.fullmatch(only):
            return _parts(store, only)
        of_many = only == DCP_METADATA or only.endswith(_DCP_FILE)
        return _distributed(store.names()) if of_many else _single(only)
    names = store.names()
    for name in _PREFERRED:
        if name in names:
            return _indexed(store, name) if name.endswith(INDEX) else _single(name)
    if DCP_METADATA in names:
        return _distributed(names)
    return _of_other_names(store, names)


def _of_other_names(store: Store, names: frozenset[str]) -> WeightFiles:
    """The one file that ends like weights, or Mistral's consolidated ones."""
    safetensors = sorted(name for name in names if name.endswith(".safetensors"))
    if len(safetensors) == 1:
        return _single(safetensors[0])
    consolidated = [name for name in safetensors if name.startswith("consolidated")]
    if consolidated:
        return WeightFiles(tuple(consolidated), SAFETENSORS)
    if safetensors:
        raise _ambiguous(store, safetensors)
    pickles = _pickles(store, names)
    if len(pickles) == 1:
        return _single(pickles[0])
    if pickles:
        raise _ambiguous(store, pickles)
    return _gguf(store, names)


def _gguf(store: Store, names: frozenset[str]) -> WeightFiles:
    """The one GGUF file, or the parts of it; a vision model's projector beside it is not it."""
    found = [name for name in names if name.endswith(".gguf") and not name.startswith("mmproj")]
    wholes = sorted({_PART.sub(r"\1-00001-of-\3.gguf", name) for name in found})
    if len(wholes) > 1:
        raise _ambiguous(store, wholes)
    if not wholes:
        raise _no_weights(store, names)
    return weight_files(store, wholes[0])


def _parts(store: Store, part: str) -> WeightFiles:
    """All parts of the file that `part` is one of. Raises MalformedError where one is missing."""
    match = _PART.fullmatch(part)
    assert match is not None  # noqa: S101  (so it is called)
    files = [f"{match[1]}-{n:05d}-of-{match[3]}.gguf" for n in range(1, int(match[3]) + 1)]
    missing = [file for file in files if file not in store.names()]
    if missing:
        raise MalformedError(
            f"{store.label} lacks {missing[0]}, one of {len(files)} parts of a file",
            hint="download the missing part; all are needed",
        )
    return WeightFiles(tuple(files), GGUF)


def _distributed(names: frozenset[str]) -> WeightFiles:
    if DCP_METADATA not in names:
        message = f"the .distcp files have no {DCP_METADATA} beside them, which says what they hold"
        raise MalformedError(message, hint="copy the whole folder that was saved")
    parts = sorted(name for name in names if name.endswith(_DCP_FILE))
    return WeightFiles((DCP_METADATA, *parts), DCP)


def _single(name: str) -> WeightFiles:
    return WeightFiles((name,), _format(name))


def _pickles(store: Store, names: frozenset[str]) -> list[str]:
    """The torch archives among `names`: by PyTorch's own endings, else .ckpt, else by content."""
    named = sorted(name for name in names if is_weights(name) and _format(name) == TORCH_ZIP)
    own = [name for name in named if not name.endswith(".ckpt")]
    return own or named or _by_content(store, names)


def _by_content(store: Store, names: frozenset[str]) -> list[str]:
    """Those on this disk that begin as torch archives do, in a folder of ordinary size."""
    candidates = sorted(name for name in names if not _NOT_WEIGHTS.fullmatch(name))
    if not isinstance(store, LocalFolder) or len(candidates) > _MOST_LOOKED_INTO:
        return []
    found = []
    for name in candidates:
        # What cannot be read, or leads out of the folder, is passed over.
        with suppress(UsageError, MalformedError):
            source = store.source(name)
            if is_torch_zip(source):
                found.append(name)
            source.close()
    return found


def _indexed(store: Store, index: str) -> WeightFiles:
    where = f"{store.label}: {index}"
    placed = parse_json(store.read_small(index), where).get("weight_map")
    if not isinstance(placed, dict) or not placed:
        raise MalformedError(f"{where} has no weight_map")
    extension = "." + index.removesuffix(INDEX).rsplit(".", 1)[1]
    for tensor, file in placed.items():
        if not isinstance(file, str):
            raise MalformedError(f"{where} places {tensor!r} in {file!r}, which is no file name")
    files = sorted(set(placed.values()))
    names = store.names()
    for file in files:
        _check_shard(file, extension, where)
        if file not in names:
            raise MissingShardError(where, file)
    return WeightFiles(tuple(files), FORMATS[extension], index, placed)


def _check_shard(file: str, extension: str, where: str) -> None:
    """A shard lies beside its index and has its format: anything else could read other files."""
    try:
        plain_name(file)
    except ValueError as error:
        raise MalformedError(f"{where} points outside its folder: {file!r}") from error
    if not file.endswith(extension):
        raise MalformedError(f"{where} names {file!r}, which is not a {extension} file")


def _format(name: str) -> str | None:
    for extension, file_format in FORMATS.items():
        if name.endswith(extension):
            return file_format
    return None


def _ambiguous(store: Store, files: list[str]) -> SeveralFilesError:
    shown = ", ".join(files[:3]) + (", ..." if len(files) > 3 else "")
    return SeveralFilesError(
        f"{store.label} has {len(files)} weight files ({shown}) and no index that joins them",
        hint="the path of one of them, or the index file that was saved with them",
    )


def _no_weights(store: Store, names: frozenset[str]) -> UnsupportedError:
    found = sorted({what for end, what in _UNREAD.items() if any(n.endswith(end) for n in names)})
    if found:
        return UnsupportedError(
            f"{store.label} has its weights as {', '.join(found)} only",
            hint="use a repository with safetensors or PyTorch .bin weights",
        )
    return NoWeightsError(
        f"{store.label} has no weights (model.safetensors, pytorch_model.bin or shards of them)"
    )
