"""A plugin whose architecture does to its process what models of a zoo do, and models that ask it.

folder = install_hurting(tmp_path)     # to be put on PYTHONPATH, with SPECTRAKIT_LOAD_PLUGINS
model = hurting_model(tmp_path / "m", "segfault")
"""

from __future__ import annotations

import json

import torch
from safetensors.torch import save_file

#: The ways, and how each ends: the failure, and what its reason says.
WAYS = {
    "segfault": ("crashed", "SIGSEGV"),
    "abort": ("crashed", "SIGABRT"),
    "hang": ("time", "it took more than 1.5 s"),
    "spin": ("time", "it took more than 1.5 s"),
    "sys_exit": ("exited", "its code left the process (sys.exit(3))"),
    "os_exit": ("exited", "its code ended the process (exit status 7)"),
    "memory": ("memory", "memory"),
    "raise": ("error", "ValueError: no such luck (a bug of hurting)"),
    "interrupt": ("error", "KeyboardInterrupt"),
    "close": ("exited", "its code ended the process (exit status 0)"),
}

_PLUGIN = """
import ctypes, os, subprocess, sys, time

from spectrakit import hookimpl

KEPT = []


class Hurting:
    name = "hurting"

    def claims(self, checkpoint):
        return "hurting" in checkpoint.config

    def layers(self, checkpoint):
        getattr(self, "_" + checkpoint.config["hurting"])()

    def load(self, checkpoint, device, dtype):
        raise AssertionError

    def _segfault(self):
        ctypes.string_at(0)

    def _abort(self):
        os.abort()

    def _hang(self):
        time.sleep(1e6)

    def _spin(self):
        while True:
            pass

    def _sys_exit(self):
        sys.exit(3)

    def _os_exit(self):
        os._exit(7)

    def _close(self):
        os._exit(0)

    def _memory(self):
        while True:
            KEPT.append(bytearray(1 << 27))

    def _raise(self):
        print("\\x1b[31mprinted by the plugin")
        raise ValueError("no such luck")

    def _interrupt(self):
        raise KeyboardInterrupt

    def _leaves(self):
        started = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1e6)"])
        with open(os.environ["HURTING_LEFT"], "w") as file:
            file.write(str(started.pid))
        os.abort()


@hookimpl
def register_architectures(register):
    register(Hurting())
"""


def install_hurting(folder):
    """The plugin as an installed distribution in `folder`."""
    (folder / "hurting.py").write_text(_PLUGIN)
    info = folder / "hurting-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: hurting\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[spectrakit]\nhurting = hurting\n")
    return folder


def hurting_model(folder, way):
    """A checkpoint that the plugin claims, and that hurts in this way."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"hurting": way}))
    save_file({"weight": torch.zeros(2, 2)}, folder / "model.safetensors")
    return folder
