"""The bytes of a pickle, taken one piece after another and never beyond their end."""

from __future__ import annotations


class BadPickleError(Exception):
    """A pickle that is damaged, or no state dict. Never leaves this room."""


class PickleBytes:
    """A position in `data`."""

    def __init__(self, data: bytes) -> None:
        """At the beginning."""
        self.data = data
        self.position = 0

    def take(self, count: int) -> bytes:
        """The next `count` bytes."""
        stop = self.position + count
        if count < 0 or stop > len(self.data):
            raise BadPickleError("it ends early")
        taken = self.data[self.position : stop]
        self.position = stop
        return taken

    def number(self, count: int, *, signed: bool = False) -> int:
        """The next `count` bytes as a number, little-endian."""
        return int.from_bytes(self.take(count), "little", signed=signed)

    def line(self) -> str:
        """The text up to the next line end, which is passed over."""
        stop = self.data.find(b"\n", self.position, self.position + 1024)
        if stop < 0:
            raise BadPickleError("a name without an end")
        return self.take(stop + 1 - self.position)[:-1].decode("utf-8")
