"""Where a training's figures go besides progress.csv: TensorBoard's files, Weights & Biases, or nowhere."""

from __future__ import annotations

import os
import secrets
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from torch.utils.tensorboard import SummaryWriter

from runs.config import RunConfig, to_plain
from runs.record import read_record, save_record, write_record


class Events(Protocol):
    """What takes figures."""

    def write(self, iteration: int, numbers: dict[str, float]) -> None:
        """Take the figures of an iteration, by name; none is NaN."""

    def close(self, failed: bool = False) -> None:
        """The training ends, done or `failed`."""


class Nowhere:
    """`--logger none`."""

    def write(self, iteration: int, numbers: dict[str, float]) -> None:
        """See `Events`."""

    def close(self, failed: bool = False) -> None:
        """See `Events`."""


class TensorBoard:
    """Event files in the run folder."""

    def __init__(self, folder: Path, start: int):
        """Rows after iteration `start`, lost by a crash, are hidden."""
        self._writer = SummaryWriter(str(folder), purge_step=start + 1)

    def write(self, iteration: int, numbers: dict[str, float]) -> None:
        """See `Events`."""
        for name, value in numbers.items():
            self._writer.add_scalar(name, value, iteration)

    def close(self, failed: bool = False) -> None:
        """See `Events`."""
        self._writer.close()


class WeightsAndBiases:
    """A run of W&B, under the run folder's name; one that goes on is the same run there.

    Where it goes and whether the network is used, W&B's own environment variables say: WANDB_MODE=offline keeps
    everything in the run folder until `wandb sync`.
    """

    def __init__(self, cfg: RunConfig, folder: Path):
        """Begin, or go on; ValueError if W&B will not."""
        import wandb

        record = read_record(folder)
        own = record.setdefault("wandb", {"id": secrets.token_hex(4), "project": _project(cfg)})
        save_record(folder, record)
        facts = {name: value for name, value in record.items() if name not in ("wandb", "resumed")}
        try:
            self._run = wandb.init(
                project=own["project"],
                id=own["id"],
                resume="allow",
                name=folder.name,
                notes=cfg.notes or None,
                config=to_plain(cfg) | {"run": facts},
                allow_val_change=True,
                dir=str(folder),
                # the record says what there is to say of code, and the progress line is not for W&B
                settings=wandb.Settings(console="off", disable_git=True, disable_code=True),
            )
        except wandb.errors.Error as error:
            raise ValueError(f"W&B does not begin ({str(error).splitlines()[0]})") from error
        # rows that a crash lost come again: W&B refuses a step that it has had, a figure beside an iteration it takes
        self._run.define_metric("iteration")
        self._run.define_metric("*", step_metric="iteration")

    def write(self, iteration: int, numbers: dict[str, float]) -> None:
        """See `Events`."""
        self._run.log({"iteration": iteration, **numbers})

    def close(self, failed: bool = False) -> None:
        """See `Events`."""
        self._run.finish(exit_code=int(failed))


def _project(cfg: RunConfig) -> str:
    return cfg.wandb_project or os.environ.get("WANDB_PROJECT") or "trot"


def check_logger(cfg: RunConfig) -> None:
    """Refuse what could not log before anything starts; ValueError with one sentence."""
    if cfg.wandb_project and cfg.logger != "wandb":
        raise ValueError("--wandb_project is for --logger wandb")
    if cfg.logger != "wandb":
        return
    if find_spec("wandb") is None:
        raise ValueError("--logger wandb needs the package wandb: pip install wandb")
    if any(mark in _project(cfg) for mark in "/\\#?%:"):
        raise ValueError(f"--wandb_project {_project(cfg)!r} must be a name without / \\ # ? % :")
    if os.environ.get("WANDB_MODE", "online") == "online":
        import wandb

        try:
            known = wandb.login()
        except wandb.errors.Error as error:
            raise ValueError(
                f"--logger wandb: {str(error).splitlines()[0]} WANDB_MODE=offline logs without an account"
            ) from error
        if not known:
            raise ValueError("--logger wandb: log in with `wandb login`, or set WANDB_MODE=offline")


def begin_log(cfg: RunConfig, folder: Path, device: str, start: int = 0) -> Events:
    """Note what a run is made by, see runs/record.py, and open what takes its figures.

    Args:
        cfg: the run; its `logger` says where figures go.
        folder: of the run.
        device: where it trains.
        start: iteration that it goes on from, 0 for a new one.

    Raises:
        ValueError: W&B cannot begin.
    """
    write_record(folder, device, cfg.plugin, cfg.notes, start)
    if cfg.logger == "wandb":
        return WeightsAndBiases(cfg, folder)
    return TensorBoard(folder, start) if cfg.logger == "tensorboard" else Nowhere()
