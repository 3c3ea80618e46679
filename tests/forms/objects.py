"""What torch.save and pickle write of things that are more than tensors."""

from __future__ import annotations

import collections
import pickle
from argparse import Namespace
from pathlib import Path

import numpy as np
import torch

from tests.forms.base import Form, Original, saved
from tests.support.legacy import legacy_tar


def _values(folder: Path, original: Original) -> Path:
    original.write_config(folder)
    beside = {
        "args": Namespace(out=Path("runs"), lr=1e-3),
        "best": np.float64(1.5),
        "counts": collections.Counter("abc"),
        "generator": np.random.default_rng(0),
        "device": torch.device("cpu"),
    }
    saved({"model": original.tensors, **beside}, folder / "ckpt.pt")
    return folder


def _module(folder: Path, original: Original) -> Path:
    return saved(original.module(), folder / "model.pt")


def _hyper_parameters(folder: Path, original: Original) -> Path:
    original.write_config(folder)
    model = original.module()
    state = {f"model.{name}": value for name, value in model.state_dict().items()}
    saved({"state_dict": state, "hyper_parameters": {"model": model}}, folder / "last.ckpt")
    return folder


def _tensor_of_arguments(folder: Path, original: Original) -> Path:
    original.write_config(folder)
    state = original.module().state_dict()
    arguments = Namespace(rates=state["backbone.layers.0.mixer.A_log"])
    saved({"state_dict": state, "hyper_parameters": arguments}, folder / "last.ckpt")
    return folder


def _script(folder: Path, original: Original) -> Path:
    path = folder / "model.pt"
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), path)
    return path


def _old(folder: Path, original: Original) -> Path:
    return saved(original.tensors, folder / "model.pt", _use_new_zipfile_serialization=False)


def _tar(folder: Path, original: Original) -> Path:
    (folder / "model.pt").write_bytes(legacy_tar())
    return folder / "model.pt"


def _pickle(folder: Path, original: Original) -> Path:
    state = {name: value.numpy() for name, value in original.tensors.items()}
    (folder / "model.pt").write_bytes(pickle.dumps(state))
    return folder / "model.pt"


FORMS = (
    Form("Namespace, Path, numpy values beside the state dict", "argparse.Namespace", _values,
         ("torch",)),
    Form("torch.save of a whole module", "state_dict()", _module, ("torch",), refused=True,
         way_out="weights.pt"),
    Form("the model in Lightning's hyper_parameters", "which exists to run code",
         _hyper_parameters, ("torch",),
         refused=True, way_out="weights.pt"),
    Form("a tensor of the model in a Namespace of hyper_parameters",
         "holds backbone.layers.0.mixer.A_log too and may change it", _tensor_of_arguments,
         ("torch",), refused=True, way_out="weights.pt"),
    Form("TorchScript", "TorchScript", _script, ("torch",), refused=True),
    Form("torch.save before PyTorch 1.6", "torch.save before PyTorch 1.6", _old, ("torch",),
         refused=True, way_out="new.pt"),
    Form("a tar of PyTorch before 0.2", "is a legacy tar archive", written=_tar, refused=True),
    Form("pickle.dump", "is a bare pickle", _pickle, ("torch",), refused=True),
)  # fmt: skip
