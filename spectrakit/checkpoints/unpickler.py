"""A pickle machine that can build a state dict and nothing else.

It is written here in full, instead of restricting `pickle.Unpickler`, because all that an opcode
may do is then on this page: none imports, none sets an attribute, none makes much memory from a few
bytes, and the only things that can be called are the stand-ins of `pickle_globals.py`. Any other
global, and all that is made with it, is a `Placeholder`: a name. torch is not needed: tensors come
out as `StoredTensor`, a description.

Opcodes are those of protocols 2 to 5 (https://peps.python.org/pep-3154/, pickletools.py).
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from spectrakit.checkpoints.pickle_alarms import alarm, runs_code
from spectrakit.checkpoints.pickle_bytes import BadPickleError, PickleBytes
from spectrakit.checkpoints.pickle_globals import (
    Builder,
    NotPlainError,
    described_storage,
    is_dict_key,
    resolve,
)
from spectrakit.checkpoints.placeholders import Absorbed, Placeholder, Unpickled, made, type_name
from spectrakit.errors import MalformedError

if TYPE_CHECKING:
    from collections.abc import Callable

#: A state dict of 10^5 tensors takes half of these.
MAX_PICKLE_BYTES = 32_000_000
MAX_OPCODES = 8_000_000


#: Longer integers are no numbers that anyone counts with; Python takes its time to print them.
_LONGEST_INT = 255


def load_state(data: bytes, name: str) -> Unpickled:
    """The object pickled in `data`, as far as it is plain.

    `name` is the file, for errors. Raises `MalformedError` when the pickle names something that
    exists to run code, or is damaged.
    """
    if len(data) > MAX_PICKLE_BYTES:
        raise MalformedError(
            f"{name}: its pickle has {len(data):,} bytes, too many to be a state dict"
        )
    machine = _Machine(data, name)
    try:
        value = machine.run()
        return Unpickled(value, tuple(machine.skipped), machine.absorbed.settle())
    except BadPickleError as error:
        what = str(error)
    except (IndexError, struct.error, TypeError, ValueError, RecursionError) as error:
        what = f"{error} at byte {machine.position}"
    raise MalformedError(
        f"{name}: its pickle is damaged or not a state dict: {what}",
        hint="download the file again, or save its state_dict() as safetensors",
    )


# --- the machine --------------------------------------------------------------------------------

_MARK = object()
_STOP = ord(".")


class _Machine(PickleBytes):
    def __init__(self, data: bytes, name: str) -> None:
        super().__init__(data)
        self.name = name
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.skipped: dict[str, None] = {}
        self.absorbed = Absorbed()

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
        if runs_code(module, name):
            bottom = next((item for item in self.stack if item is not _MARK), None)
            raise alarm(self.name, module, name, whole=isinstance(bottom, Placeholder))
        found = resolve(module, name)
        self.push(self.skip(type_name(module, name)) if found is None else found)

    def skip(self, what: str, *inside: object) -> Placeholder:
        """A placeholder for `what`, into which `inside` was pickled."""
        self.skipped[what] = None
        placeholder = Placeholder(what)
        for value in inside:
            self.absorbed.add(placeholder, value)
        return placeholder

    def reduce(self) -> None:
        arguments = self.stack.pop()
        builder = self.stack.pop()
        if not isinstance(arguments, tuple) or not isinstance(builder, Builder | Placeholder):
            raise BadPickleError(f"a call of a {type(builder).__name__}")
        if isinstance(builder, Placeholder):
            self.push(self.skip(made(builder.type_name, arguments), builder, arguments))
            return
        try:
            self.push(builder.build(*arguments))
        except NotPlainError as error:
            self.push(self.skip(str(error), arguments))

    def new_object(self, parts: int) -> None:
        """An object of a class, from `parts` of arguments: a placeholder, like its class."""
        arguments = [self.stack.pop() for _ in range(parts)]
        self.push(self.skip(self.top(Placeholder).type_name, self.stack.pop(), *arguments))

    def build(self) -> None:
        """State of a placeholder, attributes of a dict (`_metadata`): dropped; else: refused."""
        state = self.stack.pop()
        if not self.absorbs(state):
            self.top(dict)

    def absorbs(self, *values: object) -> bool:
        """Whether there is a placeholder on top, which then has had `values` put into it."""
        placeholder = self.stack[-1]
        if not isinstance(placeholder, Placeholder):
            return False
        for value in values:
            self.absorbed.add(placeholder, value)
        return True

    def persistent(self) -> None:
        kind, storage = described_storage(self.stack.pop())
        if isinstance(kind, Placeholder):
            self.push(self.skip(kind.type_name, storage))
        else:
            self.push(storage)

    def set_items(self, items: list[Any]) -> None:
        if len(items) % 2:
            raise BadPickleError("a dict with half an item")
        if self.absorbs(*items):
            return
        target = self.top(dict)
        for i in range(0, len(items), 2):
            key, value = items[i], items[i + 1]
            if is_dict_key(key):
                target[key] = value
            elif isinstance(key, Placeholder):
                self.skip(key.type_name, key, value)
            elif isinstance(key, tuple | bytes):
                self.skip(f"items of a dict whose key is a {type(key).__name__}", key, value)
            else:
                raise BadPickleError(f"a dict with a key that is a {type(key).__name__}")

    def tuple_of(self, count: int) -> None:
        items = tuple(self.stack[-count:])
        if count > len(self.stack) or any(item is _MARK for item in items):
            raise BadPickleError("a tuple with too few items")
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
        if not self.absorbs(value):
            self.top(list).append(value)

    def append_all(self) -> None:
        items = self.to_mark()
        if not self.absorbs(*items):
            self.top(list).extend(items)

    def add_all(self) -> None:
        if not self.absorbs(*self.to_mark()):
            raise BadPickleError("items added to what is no set")

    def integer(self, count: int) -> None:
        taken = self.take(count)
        if count > _LONGEST_INT:
            self.push(self.skip("int of many digits"))
        else:
            self.push(int.from_bytes(taken, "little", signed=True))

    def byte_array(self) -> None:
        self.take(self.number(8))
        self.push(self.skip("bytearray"))

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
    b"\x8a": lambda m: m.integer(m.number(1)),
    b"\x8b": lambda m: m.integer(m.number(4, signed=True)),
    b"G": lambda m: m.push(struct.unpack(">d", m.take(8))[0]),
    b"X": lambda m: m.text(4),
    b"\x8c": lambda m: m.text(1),
    b"\x8d": lambda m: m.text(8),
    b"B": lambda m: m.push(m.take(m.number(4))),
    b"C": lambda m: m.push(m.take(m.number(1))),
    b"\x8e": lambda m: m.push(m.take(m.number(8))),
    b"\x96": _Machine.byte_array,
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
    b"\x8f": lambda m: m.push(m.skip("set")),
    b"\x90": _Machine.add_all,
    b"\x91": lambda m: m.push(m.skip("frozenset", *m.to_mark())),
    b"\x94": lambda m: m.remember(len(m.memo)),
    b"c": _Machine.find_global,
    b"\x93": _Machine.find_stacked_global,
    b"R": _Machine.reduce,
    b"\x81": lambda m: m.new_object(1),
    b"\x92": lambda m: m.new_object(2),
    b"b": lambda m: m.build(),
    b"Q": _Machine.persistent,
}
_BY_NUMBER = {ord(opcode): handler for opcode, handler in _HANDLERS.items()}
