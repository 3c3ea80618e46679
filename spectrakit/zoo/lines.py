"""Messages between the processes of a batch: one JSON document a line, over a socket."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

#: No message is longer: a job is its spec, an outcome a few lines.
_LONGEST = 4 << 20


def send(connection: socket.socket, message: object) -> None:
    """Send one message; raises OSError where nobody listens any more."""
    connection.sendall(json.dumps(message).encode() + b"\n")


def receive(connection: socket.socket) -> dict[str, Any]:
    """The next message, waited for, byte by byte so that none of the one after is taken.

    Raises EOFError where the other side is gone.
    """
    line = bytearray()
    while not line.endswith(b"\n"):
        # A look at what is there costs no byte of the next message.
        waiting = connection.recv(1 << 16, socket.MSG_PEEK)
        if not waiting or len(line) > _LONGEST:
            raise EOFError
        end = waiting.find(b"\n")
        line += connection.recv(len(waiting) if end < 0 else end + 1)
    found: dict[str, Any] = json.loads(line)
    return found


class Incoming:
    """What came over a socket that is read as it comes; gives whole messages."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._rest = b""

    def messages(self) -> Iterator[dict[str, Any]]:
        """Those that are whole now. Raises EOFError where the other side is gone."""
        got = self._connection.recv(1 << 16)
        if not got or len(self._rest) > _LONGEST:
            raise EOFError
        *whole, self._rest = (self._rest + got).split(b"\n")
        yield from map(json.loads, whole)
