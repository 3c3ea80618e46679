"""Where the model lies in the folder that a training program leaves.

    transformers    ROOT/checkpoint-N/model.safetensors
    accelerate      ROOT/checkpoints/checkpoint_N/, ROOT/step_N/, ROOT/epoch_N/
    FSDP            CHECKPOINT/pytorch_model_fsdp_0/.metadata
    DeepSpeed       ROOT/latest names ROOT/global_stepN/mp_rank_00_model_states.pt
    Lightning       ROOT/lightning_logs/version_N/checkpoints/epoch=E-step=N.ckpt, last.ckpt
    sentence-transformers   ROOT/modules.json, ROOT/0_Transformer/
    Megatron        ROOT/latest_checkpointed_iteration.txt names ROOT/iter_000000N/

Optimizer, scheduler and generator states beside them are not read. A config.json or tokenizer may
lie in any of the folders on the way.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from spectrakit.checkpoints.shards import DCP_METADATA, is_weights
from spectrakit.checkpoints.training_folders import kept_steps, numbered
from spectrakit.errors import MalformedError, UnsupportedError

if TYPE_CHECKING:
    from pathlib import Path

_STATES = re.compile(r"mp_rank_(\d+)_model_states\.pt")
_STATES_OF_STAGE_3 = re.compile(r"zero_pp_rank_\d+_mp_rank_\d+_model_states\.pt")
_NUMBERED = (re.compile(r"checkpoint_(\d+)"), re.compile(r"step_(\d+)"), re.compile(r"epoch_(\d+)"))
_STEP, _VERSION = re.compile(r"step=(\d+)"), re.compile(r"version_(\d+)")
#: A folder of a program's may lie in one of another's: Lightning's with DeepSpeed, say.
_DEEPEST = 8


@dataclass(frozen=True)
class Place:
    """Where a model lies: a folder, or one file of it; outer: the folders that it was found by."""

    folder: Path
    file: str | None = None
    outer: tuple[Path, ...] = ()

    @property
    def path(self) -> Path:
        """The folder or the file."""
        return self.folder if self.file is None else self.folder / self.file


def find_model(folder: Path) -> Place:
    """Where the model in `folder` lies: `folder` itself, unless a known program left it.

    Of several steps, the newest. Raises `MalformedError` where a file names a step that is a link
    out of the folder, and `UnsupportedError` where the program has cut the model into
    pieces that only its own tools join, with the command that does.
    """
    place = Place(folder)
    for _ in range(_DEEPEST):
        further = _further(place.folder)
        if further is None:
            break
        place = replace(further, outer=(*place.outer, place.folder))
        if place.file is not None:
            break
    return place


def _further(folder: Path) -> Place | None:
    """One step towards the model; None where `folder` has it, or is of no program known here."""
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if DCP_METADATA in names:
        return None
    states = sorted(name for name in names if _STATES.fullmatch(name))
    if states or any(_STATES_OF_STAGE_3.fullmatch(name) for name in names):
        return _of_deepspeed(folder, states)
    if any(is_weights(name) and not name.endswith(".ckpt") for name in names):
        return None
    for find in (_newest, _of_sentences, _of_fsdp, _tagged, _of_lightning, _of_megatron):
        found = find(folder)
        if found is not None:
            return found
    return None


def _newest(folder: Path) -> Place | None:
    """The newest of the numbered checkpoints, transformers' and accelerate's, that holds a file."""
    steps = kept_steps(folder)
    inner = folder / "checkpoints"
    for pattern in _NUMBERED:
        if not steps:
            steps = numbered(folder, pattern) or numbered(inner, pattern)
    kept = [step for step, path in steps.items() if any(path.iterdir())]
    return Place(steps[max(kept)]) if kept else None


def _of_sentences(folder: Path) -> Place | None:
    """The encoder of sentence-transformers, where it has a folder of its own."""
    inner = folder / "0_Transformer"
    both = (folder / "modules.json").is_file() and (inner / "config.json").is_file()
    return Place(inner) if both else None


def _of_fsdp(folder: Path) -> Place | None:
    inner = folder / "pytorch_model_fsdp_0"
    return Place(inner) if (inner / DCP_METADATA).is_file() else None


def _tagged(folder: Path) -> Place | None:
    """DeepSpeed's: a file that names the folder of the newest step."""
    for root in (folder, folder / "pytorch_model", folder / "checkpoint"):
        tag = _first_line(root / "latest")
        if tag and (root / tag).is_dir():
            return Place(_inside(root, tag))
    inner = folder / "checkpoint"  # of Lightning, which writes no `latest`
    return Place(inner) if _has_states(inner) else None


def _has_states(folder: Path) -> bool:
    return folder.is_dir() and any(
        _STATES.fullmatch(path.name) or _STATES_OF_STAGE_3.fullmatch(path.name)
        for path in folder.iterdir()
    )


def _of_deepspeed(folder: Path, states: list[str]) -> Place:
    """The model states of stages 0 to 2, which hold the whole model in one file."""
    if len(states) == 1:
        return Place(folder, states[0])
    if states:
        raise UnsupportedError(
            f"{folder} holds a model cut over {len(states)} model-parallel ranks"
            f" ({states[0]}, ...), which is not joined here",
            hint="export it with the program that trained it: for Megatron-LM,"
            " tools/checkpoint/convert.py",
        )
    root, tag = shlex.quote(str(folder.parent)), shlex.quote(folder.name)
    merged = shlex.quote(str(folder.parent / "merged"))
    raise UnsupportedError(
        f"{folder} is a DeepSpeed ZeRO stage 3 checkpoint: every rank holds a part of each tensor",
        hint=f"python -m deepspeed.utils.zero_to_fp32 {root} {merged} --tag {tag}",
    )


def _of_lightning(folder: Path) -> Place | None:
    """A .ckpt of the folder's, of its `checkpoints`, or of the newest version's."""
    versions = numbered(folder / "lightning_logs", _VERSION) or numbered(folder, _VERSION)
    for inner in (folder, folder / "checkpoints", *list(versions.values())[::-1]):
        for place in (inner, inner / "checkpoints"):
            found = list(place.glob("*.ckpt")) if place.is_dir() else []
            # Files that Lightning named; of others, which is meant is not guessed.
            named = [path for path in found if _STEP.search(path.name) or _is_last(path)]
            if named or len(found) == 1:
                newest = max(named or found, key=_age)
                return Place(newest) if newest.is_dir() else Place(place, newest.name)
    return None


def _is_last(path: Path) -> bool:
    return path.name.startswith("last")


def _age(path: Path) -> tuple[bool, int, float, str]:
    """Later for the newer: `last.ckpt`, then by the step in the name, then by the file's time."""
    step = _STEP.search(path.name)
    return _is_last(path), int(step[1]) if step else -1, path.stat().st_mtime, path.name


def _of_megatron(folder: Path) -> Place | None:
    """The newest iteration, where it was saved by torch.distributed.checkpoint."""
    iteration = _first_line(folder / "latest_checkpointed_iteration.txt")
    newest = folder
    if iteration:
        tag = f"iter_{int(iteration):07d}" if iteration.isdecimal() else iteration
        newest = _inside(folder, tag)
        if (newest / DCP_METADATA).is_file():
            return Place(newest)
    if any(newest.glob("mp_rank_*/model_optim_rng.pt")) or any(
        newest.glob("mp_rank_*/model_rng.pt")
    ):
        root = folder if iteration else folder.parent
        raise UnsupportedError(
            f"{newest} is a Megatron-LM checkpoint, a file for each model-parallel rank",
            hint="in Megatron-LM: python tools/checkpoint/convert.py --model-type GPT"
            " --loader mcore --saver mcore --target-tensor-parallel-size 1"
            " --target-pipeline-parallel-size 1"
            f" --load-dir {shlex.quote(str(root))} --save-dir {shlex.quote(str(root))}-one"
            " (its format torch_dist is read here)",
        )
    return None


def _inside(folder: Path, name: str) -> Path:
    """`folder / name`, of which a file of the checkpoint tells: never what is elsewhere.

    A link among the numbered folders is its owner's and followed; a name in a file is whoever's.
    """
    path = folder / name
    if path.resolve().is_relative_to(folder.resolve()):
        return path
    target = path.resolve()
    message = f"{path} is a link that leads out of its folder, to {target}"
    raise MalformedError(message, hint=f"spectrakit inspect {shlex.quote(str(target))}")


def _first_line(path: Path) -> str | None:
    """The plain name that a small text file holds; None without one."""
    if not path.is_file() or path.stat().st_size > 4096:
        return None
    text = path.read_text(encoding="utf-8", errors="replace").strip()
    return text if re.fullmatch(r"[\w.+=-]+", text) and text.strip(".") else None
