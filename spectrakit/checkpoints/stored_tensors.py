"""Tensors and storages of a torch archive as its pickle describes them: where they lie."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class StoredTensor:
    """A view of the storage `key`: `offset` and `strides` count elements of `dtype`.

    `storage_dtype` is None for an untyped storage, whose `storage_elements` are bytes.
    """

    key: str
    storage_dtype: str | None
    storage_elements: int
    dtype: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


@dataclass(frozen=True)
class Storage:
    """A storage that the pickle refers to by its key; without a dtype, elements are bytes."""

    key: str
    dtype: str | None
    elements: int
