"""That no pickle can run anything, by construction: by the machine's source, and watched at work.

The first half reads the source of the modules that a pickle's bytes reach: nothing in them imports,
evaluates or looks up an attribute by name, and every call is one of a list. The second half runs
programs of opcodes, of any names, and looks at every function that is called meanwhile.
"""

from __future__ import annotations

import ast
import contextlib
import enum
import gc
import pickle
import pickletools
import re
import struct
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import spectrakit.checkpoints
from spectrakit.checkpoints import pickle_globals, unpickler
from spectrakit.checkpoints.pickle_globals import Builder, Dtype, StorageType, resolve
from spectrakit.checkpoints.unpickler import load_state
from spectrakit.errors import MalformedError

ROOM = Path(spectrakit.checkpoints.__file__).parent
REACHED = (
    "unpickler",
    "pickle_bytes",
    "pickle_globals",
    "pickle_alarms",
    "placeholders",
    "stored_tensors",
)
#: Modules that these may import; of the package, only each other, bounds and errors.
MODULES = {
    *("__future__", "collections", "collections.abc", "dataclasses", "re", "struct", "typing"),
    *("spectrakit.checkpoints.entries", "spectrakit.errors"),
    *(f"spectrakit.checkpoints.{name}" for name in REACHED),
}
RUNS = {
    *("eval", "exec", "compile", "__import__", "getattr", "setattr", "delattr", "globals"),
    *("locals", "vars", "open", "input", "breakpoint", "importlib", "operator", "sys", "os"),
}


def tree(module: str) -> ast.Module:
    return ast.parse((ROOM / f"{module}.py").read_text(encoding="utf-8"))


@pytest.mark.parametrize("module", REACHED)
def test_the_source_imports_nothing_while_it_runs(module):
    top = tree(module)
    of_types = [node for node in top.body if isinstance(node, ast.If)]  # TYPE_CHECKING
    at_the_top = {id(node) for block in [top, *of_types] for node in block.body}
    for node in ast.walk(top):
        if isinstance(node, ast.Import | ast.ImportFrom):
            assert id(node) in at_the_top
            names = (
                {node.module} if isinstance(node, ast.ImportFrom) else {n.name for n in node.names}
            )
            assert names <= MODULES


@pytest.mark.parametrize("module", REACHED)
def test_the_source_has_no_name_that_runs_code(module):
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Name):
            assert node.id not in RUNS
        if isinstance(node, ast.Attribute) and node.attr.startswith("__"):
            # `super().__init__(data)`, and the name of a type in a message.
            assert node.attr in {"__init__", "__name__"}


#: What the machine calls beside its own methods. `builder.build` is one of `_FUNCTIONS`, see below;
#: `handler` one of the table of opcodes.
CALLS = {
    *("MalformedError", "BadPickleError", "Placeholder", "Unpickled", "Absorbed", "_Machine"),
    *("alarm", "runs_code", "resolve", "described_storage", "is_dict_key", "made", "type_name"),
    *(
        "len",
        "str",
        "ord",
        "object",
        "bytes",
        "tuple",
        "range",
        "isinstance",
        "any",
        "next",
        "type",
    ),
    *("super", "super().__init__", "int.from_bytes", "struct.unpack"),
    "machine.run",
    *("machine.absorbed.settle", "_BY_NUMBER.get", "_HANDLERS.items", "handler", "builder.build"),
    *("self.take(self.number(width)).decode", "self.top(list).append", "self.top(list).extend"),
    *("self.stack.append", "self.stack.pop", "self.absorbed.add"),
    *("m.stack.pop",),
}


def test_the_machine_calls_what_is_listed_and_nothing_else():
    top = tree("unpickler")
    machine = next(n for n in top.body if isinstance(n, ast.ClassDef))
    own = {n.name for n in machine.body if isinstance(n, ast.FunctionDef)}
    own |= {name for name in dir(unpickler.PickleBytes) if not name.startswith("_")}
    methods = {f"{of}.{name}" for of in ("self", "m") for name in own}
    called = {ast.unparse(node.func) for node in ast.walk(top) if isinstance(node, ast.Call)}
    assert called - methods == CALLS


def test_one_place_calls_what_a_pickle_names_and_it_is_a_builder_there():
    reduce = next(n for n in ast.walk(tree("unpickler")) if getattr(n, "name", None) == "reduce")
    source = ast.unparse(reduce)
    assert "not isinstance(builder, Builder | Placeholder)" in source
    assert source.index("isinstance(builder, Placeholder)") < source.index("builder.build(")
    for builder in pickle_globals._FUNCTIONS.values():
        assert type(builder) is Builder
        assert builder.build.__module__ == pickle_globals.__name__


NAMES = st.sampled_from(
    [
        *("os.system", "builtins.eval", "builtins.getattr", "subprocess.Popen"),
        *("collections.OrderedDict", "torch._utils._rebuild_tensor_v2", "torch.FloatStorage"),
        *("torch._utils._rebuild_parameter", "torch.Size", "torch.float32", "torch.QInt8Storage"),
        *(f"{__name__}.never", f"{__name__}.Never", "argparse.Namespace", "builtins.set"),
    ]
)


@given(st.text(max_size=20), st.text(max_size=20))
def test_any_name_resolves_to_something_inert(module, name):
    assert resolve(module, name) is None or type(resolve(module, name)) in {
        *(Builder, Dtype, StorageType),
    }


def never(*_: object) -> None:
    raise AssertionError("a pickle called this")


class Never:
    def __init__(self, *_: object) -> None:
        raise AssertionError("a pickle made this")

    def __setstate__(self, _: object) -> None:
        raise AssertionError("a pickle set its state")


@st.composite
def opcode(draw):
    """Any opcode of any protocol with an argument of its kind."""
    code = draw(st.sampled_from(pickletools.opcodes))
    number = draw(st.integers(0, 4))
    name = draw(NAMES)
    module, _, last = name.rpartition(".")
    argument = None if code.arg is None else code.arg.name
    encoded = {
        None: b"",
        "stringnl_noescape_pair": f"{module}\n{last}\n".encode(),
        "uint1": struct.pack("<B", number),
        "uint2": struct.pack("<H", number),
        "uint4": struct.pack("<I", number),
        "int4": struct.pack("<i", number),
        "uint8": struct.pack("<Q", 0),
        "float8": struct.pack(">d", number),
        "long1": b"\x01" + struct.pack("<B", number),
        "long4": struct.pack("<i", 1) + struct.pack("<B", number),
        "unicodestring1": struct.pack("<B", len(module)) + module.encode(),
        "unicodestring4": struct.pack("<I", len(last)) + last.encode(),
        "unicodestring8": struct.pack("<Q", len(last)) + last.encode(),
        "bytes1": b"\x01x",
        "bytes4": struct.pack("<I", 1) + b"x",
        "bytes8": struct.pack("<Q", 1) + b"x",
        "bytearray8": struct.pack("<Q", 1) + b"x",
        "string1": b"\x01x",
        "string4": struct.pack("<i", 1) + b"x",
    }
    return code.code.encode("latin-1") + encoded.get(argument, b"1\n")


#: Beginnings that leave something worth calling, filling or building on the stack.
BEGUN = st.sampled_from(
    [
        b"",
        b"(",
        b"]",
        b"}",
        *(f"c{__name__}\n{name}\n".encode() + b")" for name in ("never", "Never")),
        f"c{__name__}\nNever\n".encode() + b")\x81}",
        f"c{__name__}\nnever\n".encode() + b")R(K\x01K\x02",
        b"ccollections\nOrderedDict\n)R(K\x01" + f"c{__name__}\nNever\n".encode(),
    ]
)


def functions_called(pickled: bytes, read=load_state) -> tuple[set[str], set[str]]:
    """Files of the Python functions, and names of the others, that run while it is read."""
    files: set[str] = set()
    others: set[str] = set()

    def see(frame, event, argument):
        if event == "call":
            files.add(frame.f_code.co_filename)
        elif event == "c_call":
            others.add(getattr(argument, "__qualname__", repr(argument)))

    str(MalformedError("its patterns: compiled @"))  # before anything is watched
    before = sys.getprofile()
    gc.disable()  # whose callbacks are nobody's here
    sys.setprofile(see)
    try:
        with suppress(MalformedError):
            read(pickled, "model.bin")
    finally:
        sys.setprofile(before)
        gc.enable()
    return files, others


#: All that is not written in Python and may run: of builtin types, and of the end of `see` itself.
HARMLESS = {
    *("len", "isinstance", "issubclass", "any", "next", "ascii", "repr", "iter", "id", "ord"),
    *("list.append", "list.pop", "list.extend", "dict.get", "dict.setdefault", "dict.items"),
    *("dict.values", "set.add", "int.from_bytes", "bytes.find", "bytes.decode", "str.split"),
    *("str.join", "str.startswith", "str.endswith", "str.removesuffix", "str.isascii"),
    *("str.isprintable", "unpack", "Pattern.fullmatch", "Pattern.sub", "deque.popleft"),
    *("deque.append", "object.__init__", "object.__setattr__", "BaseException.__init__"),
    *("_abc_instancecheck", "_abc_subclasscheck", "setprofile"),
}


#: Python files whose functions may run: those of the room, and those that words of errors take.
OWN = {
    *(str(ROOM / f"{name}.py") for name in REACHED),
    *(str(ROOM.parent / name) for name in ("errors.py", "plain.py")),
    *(contextlib.__file__, enum.__file__, re.__file__, "<frozen abc>"),
    *("<string>", __file__),  # methods of dataclasses; `see`
}


@given(BEGUN, st.lists(opcode(), max_size=12))
def test_whatever_a_pickle_says_only_the_room_s_own_functions_run(begun, opcodes):
    files, others = functions_called(b"\x80\x02" + begun + b"".join(opcodes) + b".")
    assert files <= OWN
    assert others <= HARMLESS


def test_the_watching_sees_a_call():
    """The test above could not fail if it did not."""

    def read(pickled: bytes, _: str) -> None:
        with suppress(AssertionError):
            pickle.loads(pickled)

    _, others = functions_called(f"c{__name__}\nnever\n)R.".encode(), read)
    assert "loads" in others
    assert not others <= HARMLESS
