"""New interpreters for processes of a batch."""

from __future__ import annotations

import sys


def python(module: str, *arguments: str) -> list[str]:
    """The command that runs one of our modules, importing from where this process does.

    `python -m` would look into the working directory first: a folder of checkpoints, say, whose
    `xlstm/` would be taken for the library of that name, and whose `json.py` would be run.
    """
    code = (
        f"import runpy, sys; ours = {sys.path!r}; "
        "sys.path[:] = [*(path for path in sys.path if path not in ours), *ours]; "
        f"runpy.run_module({module!r}, run_name='__main__', alter_sys=True)"
    )
    return [sys.executable, "-P", "-c", code, *arguments]
