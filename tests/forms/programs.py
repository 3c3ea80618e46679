"""What training programs leave: their folders and files."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import torch

from tests.forms.base import MAMBA, Form, Made, Original, saved
from tests.support.mamba_ssm_files import write_mamba_ssm


def _trainer(folder: Path, original: Original) -> Made:
    from transformers import Trainer, TrainingArguments

    rows = torch.randint(0, 60, (4, 16), generator=torch.Generator().manual_seed(0))
    arguments = TrainingArguments(
        output_dir=str(folder), max_steps=2, save_steps=1, use_cpu=True, report_to=[],
        per_device_train_batch_size=2, logging_strategy="no", disable_tqdm=True,
    )  # fmt: skip
    model = original.module()
    data = [{"input_ids": row, "labels": row} for row in rows]
    Trainer(model=model, args=arguments, train_dataset=data).train()
    return Made(folder, like=folder / "checkpoint-2")


def _accelerate(folder: Path, original: Original, safetensors: bool = True) -> Path:
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True)
    model = original.module()
    accelerator.prepare(model, torch.optim.AdamW(model.parameters()))
    accelerator.save_state(str(folder), safe_serialization=safetensors)
    original.write_config(folder)
    return folder


def _accelerate_bin(folder: Path, original: Original) -> Path:
    return _accelerate(folder, original, safetensors=False)


def _distributed(folder: Path, original: Original) -> Path:
    """As FSDP's sharded state dicts are saved too."""
    import torch.distributed.checkpoint as dcp

    dcp.save({"model": original.module().state_dict(), "step": 3}, checkpoint_id=str(folder))
    original.write_config(folder)
    return folder


def _fully_sharded(folder: Path, original: Original) -> Path:
    """FSDP2 over a group of one process."""
    import torch.distributed as dist
    import torch.distributed.checkpoint as dcp
    from torch.distributed.checkpoint.state_dict import get_model_state_dict
    from torch.distributed.fsdp import fully_shard

    store = dist.FileStore(str(folder.parent / "store"), 1)
    dist.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        mesh = dist.init_device_mesh("cpu", (1,))
        model = original.module()
        fully_shard(model, mesh=mesh)
        dcp.save({"app": {"model": get_model_state_dict(model)}}, checkpoint_id=str(folder))
    finally:
        dist.destroy_process_group()
    original.write_config(folder)
    return folder


def _accelerate_fsdp(folder: Path, original: Original) -> Path:
    (folder / "pytorch_model_fsdp_0").mkdir()
    _distributed(folder / "pytorch_model_fsdp_0", original)
    saved({"state": {}}, folder / "random_states_0.pkl")
    original.write_config(folder)
    return folder


def _lightning_class(original: Original) -> type:
    import lightning

    class Net(lightning.LightningModule):
        def __init__(self, arguments, rate=1e-3):
            super().__init__()
            self.save_hyperparameters()
            self.model = original.module()

        def training_step(self, batch, index):
            return self.model(input_ids=batch, labels=batch).loss

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.0)

    return Net


def _fit(folder: Path, original: Original, arguments: object, **options: object) -> None:
    import lightning

    rows = torch.randint(0, 60, (4, 16), generator=torch.Generator().manual_seed(0))
    trainer = lightning.Trainer(
        max_steps=2, accelerator="cpu", default_root_dir=str(folder), enable_progress_bar=False,
        enable_model_summary=False, **options,
    )  # fmt: skip
    trainer.fit(_lightning_class(original)(arguments), torch.utils.data.DataLoader(rows, 2))


def _lightning(folder: Path, original: Original) -> Path:
    _fit(folder, original, Namespace(out=Path("runs"), widths=[96, 192]))
    original.write_config(folder)
    return folder


def _lightning_omegaconf(folder: Path, original: Original) -> Path:
    from omegaconf import OmegaConf

    _fit(folder, original, OmegaConf.create({"model": {"width": 96}, "lr": 1e-3}))
    original.write_config(folder)
    return folder


def _lightning_averaged(folder: Path, original: Original) -> Made:
    """Its checkpoint holds the average as the model, and the raw weights beside."""
    from lightning.pytorch.callbacks import EMAWeightAveraging

    _fit(folder, original, None, callbacks=[EMAWeightAveraging()])
    original.write_config(folder)
    like = folder.parent / "like"  # an average of equal numbers is not that number to the last bit
    (checkpoint,) = folder.rglob("*.ckpt")
    state = torch.load(checkpoint, weights_only=False)["state_dict"]
    original.save_with(like, {name.removeprefix("model."): each for name, each in state.items()})
    return Made(folder, like)


def _of_lightning(original: Original, **more: object) -> dict:
    tensors = {f"model.{name}": value for name, value in original.tensors.items()}
    return {
        "epoch": 0,
        "global_step": 2,
        "pytorch-lightning_version": "2.6.6",
        "state_dict": tensors,
        "loops": {"fit_loop": {"state_dict": {}}},
        "callbacks": {"ModelCheckpoint{}": {"best_model_score": None}},
        "optimizer_states": [{"state": {}, "param_groups": [{"lr": 0.0}]}],
        **more,
    }


_CKPT = "lightning_logs/version_0/checkpoints/epoch=0-step=2.ckpt"


def _lightning_layout(folder: Path, original: Original) -> Path:
    arguments = Namespace(out=Path("runs"), widths=[96, 192])
    hyper_parameters = {"arguments": arguments, "rate": 1e-3}
    saved(_of_lightning(original, hyper_parameters=hyper_parameters), folder / _CKPT)
    original.write_config(folder)
    return folder


class _DictConfig:
    """Stands for a class of another library, which keeps its state in a dict."""

    def __init__(self) -> None:
        self._content = {"lr": 1e-3}


def _lightning_config_layout(folder: Path, original: Original) -> Path:
    hyper_parameters = {"arguments": _DictConfig()}
    saved(_of_lightning(original, hyper_parameters=hyper_parameters), folder / _CKPT)
    original.write_config(folder)
    return folder


def _lightning_averaged_layout(folder: Path, original: Original) -> Path:
    raw = {f"model.{name}": value + 1 for name, value in original.tensors.items()}
    averaging = {"n_averaged": torch.tensor(2)}
    checkpoint = _of_lightning(original, current_model_state=raw, averaging_state=averaging)
    saved(checkpoint, folder / _CKPT)
    original.write_config(folder)
    return folder


def _deepspeed(folder: Path, original: Original) -> Path:
    step = folder / "global_step500"
    states = {"module": original.tensors, "global_steps": 500, "ds_version": "0.18.2"}
    saved(states, step / "mp_rank_00_model_states.pt")
    saved({"optimizer_state_dict": {}}, step / "zero_pp_rank_0_mp_rank_00_optim_states.pt")
    (folder / "latest").write_text("global_step500")
    original.write_config(folder)
    return folder


def _deepspeed_3(folder: Path, original: Original) -> Path:
    for rank in range(2):
        name = f"zero_pp_rank_{rank}_mp_rank_00_model_states.pt"
        saved({"module": {}}, folder / "global_step500" / name)
    (folder / "latest").write_text("global_step500")
    return folder


def _megatron(folder: Path, original: Original) -> Path:
    (folder / "latest_checkpointed_iteration.txt").write_text("100\n")
    saved({"model": {}}, folder / "iter_0000100" / "mp_rank_00" / "model_optim_rng.pt")
    return folder


def _mamba_ssm(folder: Path, original: Original) -> Path:
    return write_mamba_ssm(original.folder, folder)


FORMS = (
    Form("save_pretrained of transformers", "read by transformers-mamba",
         lambda folder, original: original.module().save_pretrained(folder) or folder,
         ("transformers",)),
    Form("Trainer's folder", "checkpoint-2", _trainer, ("transformers", "accelerate")),
    Form("accelerate save_state", "read by transformers-mamba", _accelerate, ("accelerate",)),
    Form("accelerate save_state, safe_serialization=False", "torch-zip",
         _accelerate_bin, ("accelerate",)),
    Form("torch.distributed.checkpoint", "1 dcp", _distributed, ("torch",)),
    Form("FSDP2 (fully_shard), distributed checkpoint", "1 dcp", _fully_sharded,
         ("torch",)),
    Form("FSDP of accelerate", "pytorch_model_fsdp_0", written=_accelerate_fsdp),
    Form("Lightning .ckpt, Namespace in hyper_parameters", "argparse.Namespace", _lightning,
         ("lightning",), _lightning_layout),
    Form("Lightning .ckpt, OmegaConf in hyper_parameters", "not loaded", _lightning_omegaconf,
         ("lightning", "omegaconf"), _lightning_config_layout),
    Form("Lightning .ckpt with weight averaging, --key",
         "holds 2 models, under state_dict, current_model_state", _lightning_averaged,
         ("lightning",), _lightning_averaged_layout, options={"key": "state_dict"}),
    Form("DeepSpeed ZeRO stages 0 to 2", "mp_rank_00_model_states.pt", written=_deepspeed),
    Form("DeepSpeed ZeRO stage 3", "DeepSpeed ZeRO stage 3 checkpoint", written=_deepspeed_3,
         refused=True),
    Form("Megatron-LM, a file for each rank", "is a Megatron-LM checkpoint", written=_megatron,
         refused=True),
    Form("save_pretrained of mamba_ssm", "read by mamba-ssm", written=_mamba_ssm,
         original=MAMBA),
)  # fmt: skip
