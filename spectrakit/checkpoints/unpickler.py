"""A pickle machine that can build a state dict and nothing else.

It is written here in full, instead of restricting `pickle.Unpickler`, because all that an opcode
may do is then on this page: none imports, none sets an attribute, none makes much memory from a few
bytes, and the only things that can be called are the stand-ins of `pickle_globals.py`. A global
that is not among them ends the reading with an error that names it. torch is not needed: tensors
come out as `StoredTensor`, a description.

Opcodes are those of protocols 2 to 5 (https://peps.python.org/pep-3154/, pickletools.py).
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, NoReturn

from spectrakit.checkpoints.pickle_globals import (
    BadPickleError,
    Builder,
    Storage,
    StorageType,
    dict_key,
    resolve,
)
from spectrakit.errors import MalformedError

if TYPE_CHECKING:
    from collections.abc import Callable

#: A state dict of 10^5 tensors takes half of these.
MAX_PICKLE_BYTES = 32_000_000
MAX_OPCODES = 8_000_000


def load_state(data: bytes, name: str) -> object:
    """The object pickled in `data`: dicts, lists, tuples, strings, numbers and `StoredTensor`s.

    `name` is the file, for errors. Raises `MalformedError` when the pickle names any global that a
    state dict does not need (before anything of it is used), or is damaged.
    """
    if len(data) > MAX_PICKLE_BYTES:
        raise MalformedError(
            f"{name}: its pickle has {len(data):,} bytes, too many to be a state dict"
        )
    machine = _Machine(data, name)
    try:
        return machine.run()
    except BadPickleError as error:
        what = str(error)
    except (
        IndexError,
        struct.error,
        UnicodeDecodeError,
        TypeError,
        ValueError,
        RecursionError,
    ) as error:
        what = f"{error} at byte {machine.position}"
    raise MalformedError(
        f"{name}: its pickle is damaged or not a state dict: {what}",
        hint="download the file again, or save its state_dict() as safetensors",
    )


# --- the machine --------------------------------------------------------------------------------

_MARK = object()
_STOP = ord(".")


class _Machine:
    def __init__(self, data: bytes, name: str) -> None:
        self.data = data
        self.name = name
        self.position = 0
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> object:
        for _ in range(MAX_OPCODES):
            if self.position >= len(self.data):
                raise BadPickleError("it ends early")
            opcode = self.data[self.position]
            self.position += 1
            if opcode == _STOP:
                return self.stack.pop()
            handler = _BY_NUMBER.get(opcode)
            if handler is None:
                raise BadPickleError(f"opcode {bytes([opcode])!r} at byte {self.position - 1}")
            handler(self)
        raise BadPickleError(f"more than {MAX_OPCODES:,} steps")

    # reading arguments

    def take(self, count: int) -> bytes:
        stop = self.position + count
        if count < 0 or stop > len(self.data):
            raise BadPickleError("it ends early")
        taken = self.data[self.position : stop]
        self.position = stop
        return taken

    def number(self, count: int, *, signed: bool = False) -> int:
        return int.from_bytes(self.take(count), "little", signed=signed)

    def line(self) -> str:
        stop = self.data.find(b"\n", self.position, self.position + 1024)
        if stop < 0:
            raise BadPickleError("a name without an end")
        return self.take(stop + 1 - self.position)[:-1].decode("utf-8")

    # stack

    def push(self, value: object) -> None:
        self.stack.append(value)

    def to_mark(self) -> list[Any]:
        for i in range(len(self.stack) - 1, -1, -1):
            if self.stack[i] is _MARK:
                items = self.stack[i + 1 :]
                del self.stack[i:]
                return items
        raise BadPickleError("a mark is missing")

    def top(self, kind: type) -> Any:  # noqa: ANN401
        if not isinstance(self.stack[-1], kind):
            raise BadPickleError(
                f"a {type(self.stack[-1]).__name__} where a {kind.__name__} belongs"
            )
        return self.stack[-1]

    # opcodes

    def find_global(self) -> None:
        self.resolve(self.line(), self.line())

    def find_stacked_global(self) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise BadPickleError("a global without a name")
        self.resolve(module, name)

    def resolve(self, module: str, name: str) -> None:
        found = resolve(module, name)
        if found is None:
            self.refuse(module, name)
        self.push(found)

    def refuse(self, module: str, name: str) -> NoReturn:
        wanted = ascii(f"{module}.{name}"[:120])
        raise MalformedError(
            f"{self.name}: its pickle asks for {wanted}, which no state dict needs;"
            " refused, and nothing of it was run",
            hint="if its maker is trusted: load it with torch where it was made, and save its"
            " state_dict() as safetensors",
        )

    def reduce(self) -> None:
        arguments = self.stack.pop()
        builder = self.stack.pop()
        if not isinstance(builder, Builder) or not isinstance(arguments, tuple):
            raise BadPickleError(f"a call of a {type(builder).__name__}")
        self.push(builder.build(*arguments))

    def new_object(self, parts: int) -> None:
        """An object of a class: none is in a state dict."""
        raise BadPickleError(f"an opcode that makes an object, of {parts} parts")

    def build(self) -> None:
        """Attributes of a dict (a state dict's `_metadata`): dropped; of anything else: refused."""
        self.stack.pop()
        self.top(dict)

    def persistent(self) -> None:
        match self.stack.pop():
            case ("storage", StorageType(dtype), str(key), _, int(elements)) if elements >= 0:
                self.push(Storage(key, dtype, elements))
            case _:
                raise BadPickleError("a storage that is not described as torch.save does")

    def set_items(self, items: list[Any]) -> None:
        target = self.top(dict)
        if len(items) % 2:
            raise BadPickleError("a dict with half an item")
        for i in range(0, len(items), 2):
            target[dict_key(items[i])] = items[i + 1]

    def tuple_of(self, count: int) -> None:
        if count > len(self.stack) or _MARK in self.stack[len(self.stack) - count :]:
            raise BadPickleError("a tuple with too few items")
        items = tuple(self.stack[len(self.stack) - count :])
        del self.stack[len(self.stack) - count :]
        self.push(items)

    def remember(self, index: int) -> None:
        self.memo[index] = self.stack[-1]

    def recall(self, index: int) -> None:
        if index not in self.memo:
            raise BadPickleError(f"a reference to memo {index}, which is not there")
        self.push(self.memo[index])

    def text(self, width: int) -> None:
        self.push(self.take(self.number(width)).decode("utf-8"))

    def set_item(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self.set_items([key, value])

    def append(self) -> None:
        value = self.stack.pop()
        self.top(list).append(value)

    def append_all(self) -> None:
        items = self.to_mark()
        self.top(list).extend(items)

    def set_all(self) -> None:
        items = self.to_mark()
        self.set_items(items)

    def dict_of_marked(self) -> None:
        items = self.to_mark()
        self.push({})
        self.set_items(items)

    def protocol(self) -> None:
        if self.number(1) > 5:
            raise BadPickleError("a protocol newer than 5")


_HANDLERS: dict[bytes, Callable[[_Machine], Any]] = {
    b"\x80": _Machine.protocol,
    b"\x95": lambda m: m.take(8),  # FRAME: a hint for reading ahead
    b"(": lambda m: m.push(_MARK),
    b"0": lambda m: m.stack.pop(),
    b"1": _Machine.to_mark,
    b"2": lambda m: m.push(m.stack[-1]),
    b"N": lambda m: m.push(None),
    b"\x88": lambda m: m.push(True),
    b"\x89": lambda m: m.push(False),
    b"J": lambda m: m.push(m.number(4, signed=True)),
    b"K": lambda m: m.push(m.number(1)),
    b"M": lambda m: m.push(m.number(2)),
    b"\x8a": lambda m: m.push(m.number(m.number(1), signed=True)),
    b"G": lambda m: m.push(struct.unpack(">d", m.take(8))[0]),
    b"X": lambda m: m.text(4),
    b"\x8c": lambda m: m.text(1),
    b"\x8d": lambda m: m.text(8),
    b"B": lambda m: m.push(m.take(m.number(4))),
    b"C": lambda m: m.push(m.take(m.number(1))),
    b"]": lambda m: m.push([]),
    b"a": _Machine.append,
    b"e": _Machine.append_all,
    b"l": lambda m: m.push(m.to_mark()),
    b"}": lambda m: m.push({}),
    b"s": _Machine.set_item,
    b"u": _Machine.set_all,
    b"d": _Machine.dict_of_marked,
    b")": lambda m: m.push(()),
    b"t": lambda m: m.push(tuple(m.to_mark())),
    b"\x85": lambda m: m.tuple_of(1),
    b"\x86": lambda m: m.tuple_of(2),
    b"\x87": lambda m: m.tuple_of(3),
    b"h": lambda m: m.recall(m.number(1)),
    b"j": lambda m: m.recall(m.number(4)),
    b"q": lambda m: m.remember(m.number(1)),
    b"r": lambda m: m.remember(m.number(4)),
    b"\x94": lambda m: m.remember(len(m.memo)),
    b"c": _Machine.find_global,
    b"\x93": _Machine.find_stacked_global,
    b"R": _Machine.reduce,
    b"\x81": lambda m: m.new_object(1),
    b"b": lambda m: m.build(),
    b"Q": _Machine.persistent,
}
_BY_NUMBER = {ord(opcode): handler for opcode, handler in _HANDLERS.items()}
