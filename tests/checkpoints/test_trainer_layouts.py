"""Folders of training programs, in the layouts that these write."""

from __future__ import annotations

import json
import logging

import pytest
import torch
import torch.distributed.checkpoint as dcp
from safetensors.torch import save_file

import spectrakit as sk
from spectrakit.checkpoints import open_checkpoint
from spectrakit.errors import MalformedError, UnsupportedError, UsageError
from tests.support import shapes

SHAPE = shapes.SMALL_MAMBA
CONFIG = shapes.mamba_config(SHAPE, original=False)


def weights(seed=0):
    return shapes.mamba(SHAPE, original=False, seed=seed)


def save(path, tensors, config=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".safetensors":
        save_file(tensors, path, metadata={"format": "pt"})
    else:
        torch.save(tensors, path)
    if config is not None:
        (path.parent / "config.json").write_text(json.dumps(config))


def state_of_training(folder, ranks=2):
    """What programs write beside a model, with tensors in it."""
    folder.mkdir(parents=True, exist_ok=True)
    names = ["training_args.bin", "optimizer.pt", "optimizer.bin", "optimizer_1.bin"]
    names += ["scheduler.pt", "scheduler_1.bin", "scaler.pt", "sampler.bin", "rng_state.pth"]
    names += [f"rng_state_{rank}.pth" for rank in range(ranks)]
    for name in names:
        torch.save({"state": torch.zeros(3)}, folder / name)


def reads(name, seed):
    """The weights that were drawn with `seed`, by every tensor."""
    with open_checkpoint(str(name)) as checkpoint:
        read = checkpoint.read(checkpoint.tensors)
    assert all(torch.equal(read[name], tensor) for name, tensor in weights(seed).items())
    return checkpoint


def test_states_of_a_trainer_are_not_weights(tmp_path):
    state_of_training(tmp_path)
    save(tmp_path / "model_weights.bin", weights(), CONFIG)
    assert [file.path for file in reads(tmp_path, 0).files] == ["model_weights.bin"]


def test_the_root_of_a_trainer_is_its_newest_checkpoint(tmp_path, caplog):
    root = tmp_path / "outputs"
    for step in (2, 10, 9):
        save(root / f"checkpoint-{step}" / "model.safetensors", weights(step), CONFIG)
        state_of_training(root / f"checkpoint-{step}")
    with caplog.at_level(logging.INFO, "spectrakit"):
        checkpoint = reads(root, 10)
    assert f"reading {root / 'checkpoint-10'}" in caplog.text
    assert checkpoint.model_id == "outputs"
    assert checkpoint.source == str(root / "checkpoint-10")
    reads(f"{root}@9", 9)


def test_a_step_that_was_only_begun_is_passed_over(tmp_path):
    save(tmp_path / "checkpoint-5" / "model.safetensors", weights(5), CONFIG)
    (tmp_path / "checkpoint-6").mkdir()
    reads(tmp_path, 5)


def test_a_model_of_the_root_itself_is_the_root(tmp_path):
    save(tmp_path / "checkpoint-2" / "model.safetensors", weights(2), CONFIG)
    save(tmp_path / "model.safetensors", weights(7), CONFIG)
    reads(tmp_path, 7)


@pytest.mark.parametrize("layout", ["checkpoints/checkpoint_{}", "step_{}", "epoch_{}"])
def test_accelerate(tmp_path, layout):
    """Its save_state writes no config; one of a folder around is taken."""
    for step in (1, 3):
        folder = tmp_path / layout.format(step)
        save(folder / "model.safetensors", weights(step))
        state_of_training(folder)
        (folder / "random_states_0.pkl").write_bytes(b"never read")
    assert reads(tmp_path, 3).config == {}
    assert reads(tmp_path / layout.format(1), 1).config == {}
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    assert reads(tmp_path, 3).config == CONFIG
    run = sk.analyze(str(tmp_path), out=tmp_path / "run")
    assert run.table("layers")["status"].to_pylist() == ["analysed"] * SHAPE.layers


@pytest.mark.filterwarnings("ignore:torch.distributed is disabled")
def test_fsdp(tmp_path):
    """Sharded, in a checkpoint of a Trainer's, whose root has config and tokenizer."""
    step = tmp_path / "checkpoint-4"
    state_of_training(step)
    dcp.save({"model": weights(4)}, checkpoint_id=str(step / "pytorch_model_fsdp_0"))
    dcp.save({"optimizer": {"exp_avg": torch.ones(2)}}, checkpoint_id=str(step / "optimizer_0"))
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    (tmp_path / "tokenizer.json").write_text("{}")
    checkpoint = reads(tmp_path, 4)
    assert checkpoint.config == CONFIG
    assert checkpoint.file_path("tokenizer.json") == (tmp_path / "tokenizer.json").resolve()


def deepspeed(root, tag="global_step500"):
    save(root / tag / "mp_rank_00_model_states.pt", {"module": weights(3), "global_steps": 500})
    torch.save({"state": torch.ones(2)}, root / tag / "zero_pp_rank_0_mp_rank_00_optim_states.pt")
    (root / "latest").write_text(tag)


def test_deepspeed(tmp_path):
    deepspeed(tmp_path)
    save(tmp_path / "global_step400" / "mp_rank_00_model_states.pt", {"module": weights(1)})
    assert reads(tmp_path, 3).source.endswith("global_step500/mp_rank_00_model_states.pt")
    reads(tmp_path / "global_step500", 3)
    reads(tmp_path / "global_step400", 1)


def test_deepspeed_of_accelerate_and_of_lightning(tmp_path):
    deepspeed(tmp_path / "accelerate" / "pytorch_model")
    reads(tmp_path / "accelerate", 3)
    deepspeed(tmp_path / "lightning" / "epoch=0-step=9.ckpt", tag="checkpoint")
    (tmp_path / "lightning" / "epoch=0-step=9.ckpt" / "latest").unlink()
    reads(tmp_path / "lightning", 3)


@pytest.mark.parametrize("tag", ["../global_step500", ".."])
def test_a_tag_is_a_name_and_no_path(tmp_path, tag):
    root = tmp_path / "root"
    root.mkdir()
    deepspeed(tmp_path)
    (root / "latest").write_text(tag)
    with pytest.raises(UnsupportedError, match="has no weights"):
        open_checkpoint(str(root))


def test_deepspeed_of_stage_3(tmp_path):
    root = tmp_path / "my run"
    for rank in range(2):
        name = f"zero_pp_rank_{rank}_mp_rank_00_model_states.pt"
        save(root / "global_step5" / name, {"module": {}})
    (root / "latest").write_text("global_step5")
    with pytest.raises(UnsupportedError, match="stage 3") as caught:
        open_checkpoint(str(root))
    merged = root / "merged"
    assert caught.value.hint == (
        f"python -m deepspeed.utils.zero_to_fp32 '{root}' '{merged}' --tag global_step5"
    )


def test_models_cut_over_ranks(tmp_path):
    for rank in range(2):
        save(tmp_path / f"mp_rank_0{rank}_model_states.pt", {"module": {}})
    with pytest.raises(UnsupportedError, match="2 model-parallel ranks"):
        open_checkpoint(str(tmp_path))


@pytest.mark.filterwarnings("ignore:torch.distributed is disabled")
def test_megatron(tmp_path):
    (tmp_path / "latest_checkpointed_iteration.txt").write_text("100\n")
    save(tmp_path / "iter_0000100" / "mp_rank_00" / "model_optim_rng.pt", {"model": {}})
    with pytest.raises(UnsupportedError, match="is a Megatron-LM checkpoint") as caught:
        open_checkpoint(str(tmp_path))
    assert f"--load-dir {tmp_path} " in str(caught.value.hint)
    dcp.save(weights(6), checkpoint_id=str(tmp_path / "iter_0000100"))
    reads(tmp_path, 6)


def lightning(path, seed):
    save(path, {"epoch": 1, "state_dict": weights(seed), "optimizer_states": []})


def test_lightning(tmp_path):
    lightning(tmp_path / "lightning_logs/version_2/checkpoints/epoch=9-step=90.ckpt", 90)
    lightning(tmp_path / "lightning_logs/version_10/checkpoints/epoch=0-step=8.ckpt", 8)
    lightning(tmp_path / "lightning_logs/version_10/checkpoints/epoch=0-step=11.ckpt", 11)
    reads(tmp_path, 11)
    reads(tmp_path / "lightning_logs/version_2", 90)
    lightning(tmp_path / "lightning_logs/version_10/checkpoints/last.ckpt", 5)
    reads(tmp_path, 5)


def test_which_of_several_files_without_steps_is_meant_is_not_guessed(tmp_path):
    for age, name in enumerate(["b", "a"]):
        lightning(tmp_path / f"{name}.ckpt", age)
    with pytest.raises(UnsupportedError, match=r"2 weight files \(a\.ckpt, b\.ckpt\)"):
        open_checkpoint(str(tmp_path))


def test_a_folder_of_nothing(tmp_path):
    with pytest.raises(UnsupportedError, match="has no weights"):
        open_checkpoint(str(tmp_path))
    with pytest.raises(UsageError, match="no model at any step"):
        open_checkpoint(f"{tmp_path}@3")


# --- links out of the folder --------------------------------------------------------------------


@pytest.fixture
def elsewhere(tmp_path):
    save(tmp_path / "elsewhere" / "model.safetensors", weights(), CONFIG)
    deepspeed(tmp_path / "elsewhere")
    return tmp_path / "elsewhere"


@pytest.mark.parametrize(
    ("names", "text", "link", "target"),
    [
        ("latest", "global_step1", "global_step1", "global_step500"),
        ("latest_checkpointed_iteration.txt", "7", "iter_0000007", ""),
    ],
)
def test_a_step_that_a_file_names_is_never_elsewhere(
    tmp_path, elsewhere, names, text, link, target
):
    root = tmp_path / "root"
    root.mkdir()
    (root / names).write_text(text)
    (root / link).symlink_to(elsewhere / target)
    with pytest.raises(MalformedError, match="is a link that leads out of its folder") as caught:
        open_checkpoint(str(root))
    assert caught.value.hint == f"spectrakit inspect {elsewhere / target}".rstrip("/")


def test_a_step_that_is_a_link_of_its_owner_is_followed(tmp_path, elsewhere):
    root = tmp_path / "root"
    root.mkdir()
    (root / "checkpoint-5").symlink_to(elsewhere)
    with open_checkpoint(str(root)) as checkpoint:
        assert checkpoint.tensors.keys() == weights().keys()


def test_states_that_are_a_link_to_elsewhere_are_not_read(tmp_path, elsewhere):
    root = tmp_path / "root"
    (root / "global_step500").mkdir(parents=True)
    (root / "latest").write_text("global_step500")
    name = "global_step500/mp_rank_00_model_states.pt"
    (root / name).symlink_to(elsewhere / name)
    with pytest.raises(MalformedError, match="leads out of its folder"):
        open_checkpoint(str(root))


@pytest.mark.filterwarnings("ignore:torch.distributed is disabled")
def test_parts_that_are_links_to_elsewhere_are_not_read(tmp_path):
    dcp.save(weights(), checkpoint_id=str(tmp_path / "elsewhere"))
    root = tmp_path / "root"
    root.mkdir()
    (root / ".metadata").write_bytes((tmp_path / "elsewhere" / ".metadata").read_bytes())
    (root / "__0_0.distcp").symlink_to(tmp_path / "elsewhere" / "__0_0.distcp")
    with pytest.raises(MalformedError, match="leads out of its folder"):
        open_checkpoint(str(root))


def test_the_only_file_of_a_folder_is_not_elsewhere(tmp_path, elsewhere):
    """Found by being listed; a link is read where it is named."""
    root = tmp_path / "root"
    (root / "inner").mkdir(parents=True)
    (root / "inner" / "x.safetensors").symlink_to(elsewhere / "model.safetensors")
    with pytest.raises(UnsupportedError, match="has no weights"):
        open_checkpoint(str(root))
    with open_checkpoint(str(root), file="inner/x.safetensors") as checkpoint:
        assert checkpoint.tensors
