"""What a file that should be a torch archive is instead, in words that help."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spectrakit.errors import MalformedError, UnsupportedError

if TYPE_CHECKING:
    from spectrakit.checkpoints.byte_sources import ByteSource

#: The first pickle of torch.save before 1.6: the long 0x1950a86a20f9469cfc6c.
_LEGACY_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_LOOK = 512


def not_an_archive(source: ByteSource) -> MalformedError:
    """The error that says what `source` is, which has no end record of a zip. Reads its start."""
    start = source.read(0, min(_LOOK, source.size))
    what, hint = _description(start, source.name)
    return MalformedError(f"{source.name} {what}", hint=hint)


def _description(start: bytes, name: str) -> tuple[str, str]:
    again = "download or save the file again"
    if not start:
        return "is empty", again
    if not any(start):
        return "is filled with zeros", again
    if start.startswith(b"PK"):
        return "is a PyTorch archive without its end: it is truncated", again
    if start.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, not the weights", "git lfs pull, in the folder of the clone"
    if start.startswith(_LEGACY_MAGIC):
        return "has the format of torch.save before PyTorch 1.6, which is not read here", _resaved(
            f"torch.load({name!r}, weights_only=True)"
        )
    if start[257:262] == b"ustar":
        return "is a legacy tar archive (PyTorch before 0.2), which is not read here", _resaved(
            f"torch.load({name!r}, weights_only=False)"
        )
    if start[:1] == b"\x80":
        return "is a bare pickle, which may run any code and is not read here", _resaved(
            f"pickle.loads(pathlib.Path({name!r}).read_bytes())", also="pathlib, pickle, "
        )
    if start[8:9] == b"{":
        return (
            "is named like a PyTorch file and looks like safetensors",
            "rename it to .safetensors",
        )
    return "is not a PyTorch archive", again


def without_names(name: str) -> UnsupportedError:
    """The error for a file of equinox (discretax), which has a model's arrays in their order."""
    hint = (
        "in Python, of the model in memory: sk.from_state_dict({jax.tree_util.keystr(path): leaf "
        "for path, leaf in jax.tree_util.tree_leaves_with_path(model) if hasattr(leaf, 'shape')})"
    )
    return UnsupportedError(f"{name} is a file of equinox: arrays without names", hint=hint)


def _resaved(loaded: str, also: str = "") -> str:
    """The line that saves what `loaded` gives as a file that is read here."""
    return (
        f"in Python, if its maker is trusted: import {also}torch; torch.save({loaded}, 'new.pt');"
        " of a whole module its .state_dict()"
    )
