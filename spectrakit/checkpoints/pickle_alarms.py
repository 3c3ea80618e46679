"""Names that exist to run code: a pickle that asks for one is not read any further.

This list is an alarm, not the boundary: no name is ever imported or called, whether it is here or
not (see `unpickler`). It is there so that a file made to do harm is called one.
"""

from __future__ import annotations

from spectrakit.errors import MalformedError

_PACKAGES = {
    *("os", "posix", "nt", "sys", "subprocess", "_posixsubprocess", "pty", "shutil", "commands"),
    *("importlib", "imp", "pkgutil", "zipimport", "runpy", "pip", "pkg_resources", "setuptools"),
    *("distutils", "ensurepip", "venv", "ctypes", "cffi", "gc", "signal", "multiprocessing"),
    *("threading", "asyncio", "concurrent", "codeop", "bdb", "pdb", "cProfile", "timeit"),
    *("doctest", "pydoc", "lib2to3", "idlelib", "webbrowser", "_aix_support", "_osx_support"),
    *("pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"),
    *("socket", "ssl", "ftplib", "smtplib", "telnetlib", "httplib", "xmlrpc", "urllib", "urllib2"),
    *("requests", "urllib3", "aiohttp", "paramiko", "fabric", "pexpect"),
}
_BUILTINS = {
    *("eval", "exec", "execfile", "compile", "open", "input", "__import__", "breakpoint"),
    *("getattr", "setattr", "delattr", "apply", "reload", "globals", "locals", "vars"),
    "__build_class__",
}
#: Names that run what they are given, by the whole of their module.
_NAMES = {
    "builtins": _BUILTINS,
    "types": {"CodeType", "FunctionType", "LambdaType", "MethodType"},
    "code": {"InteractiveInterpreter", "InteractiveConsole", "interact"},
    "profile": {"run", "runctx", "Profile"},
    "trace": {"Trace"},
    "operator": {"attrgetter", "methodcaller"},
    "torch": {"load", "import_ir_module"},
    "torch.serialization": {"load"},
    "torch.storage": {"_load_from_bytes"},
    "numpy": {"load"},
    "pandas": {"read_pickle"},
}
_ALIASES = {"__builtin__": "builtins", "_operator": "operator"}
_TORCH_PACKAGES = ("torch.hub", "torch.jit", "torch.package", "torch.utils.cpp_extension")
#: At the end of a walk from any module.
_LOADS = {"load", "_load_from_bytes"}
#: Whatever module they are said to be of.
_ANYWHERE = {"__import__", "eval", "exec", "execfile", "popen", "runstring", "system"}


def runs_code(module: str, name: str) -> bool:
    """Whether `module.name` exists to run code, to load it, or to get at what does.

    A dotted name is a walk over attributes: each of its parts counts, and those between
    underscores lead out of any class.
    """
    module = _ALIASES.get(module, module)
    package, parts = module.split(".")[0], name.split(".")
    if package in _PACKAGES or _within(module, _TORCH_PACKAGES):
        return True
    if parts[0] in _NAMES.get(module, ()) or parts[-1] in _ANYWHERE:
        return True
    # Of a path, every walk leads to a method, and those touch files.
    walks = (part in _PACKAGES or _is_special(part) for part in parts)
    return len(parts) > 1 and (package == "pathlib" or parts[-1] in _LOADS or any(walks))


def alarm(file: str, module: str, name: str, *, whole: bool) -> MalformedError:
    """The error for a `file` whose pickle asks for such a name.

    whole: whether what was pickled is one object, as a module is, and no dict.
    """
    wanted = ascii(f"{module}.{name}"[:120])
    hint = "do not load it with torch; ask its maker for the state dict as safetensors"
    if (_ALIASES.get(module, module), name) == ("builtins", "getattr"):
        # Python's own way to pickle an enum or a method, which many a module holds.
        hint = resaved(file, ".state_dict()" if whole else "['state_dict']")
        hint += "" if whole else "; or of the key that holds the state dict"
    return MalformedError(
        f"{file}: its pickle asks for {wanted}, which exists to run code;"
        " refused, and nothing of it was run",
        hint=hint,
    )


def resaved(file: str, path: str, state: str = "{}") -> str:
    """The line that saves a state dict of a file whose maker is trusted.

    path: how it is got at from what torch.load gives. state: what makes it plain, with {} for it.
    """
    loaded = state.replace("{}", f"torch.load({file!r}, weights_only=False){path}")
    return f"in Python, if its maker is trusted: import torch; torch.save({loaded}, 'weights.pt')"


def _within(module: str, packages: tuple[str, ...]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def _is_special(part: str) -> bool:
    return part.startswith("__") and part.endswith("__")
