"""What the robots know of the ground around them: the height scan with its age and its holes."""

from __future__ import annotations

import torch
from torch import Tensor

from envs.buffers import Buffers
from envs.frames import yaw_of
from physics import Engine
from terrains.ground import Ground, HeightField
from terrains.scan import SCAN_LEVEL, HeightScan, ScanConfig


class Perception:
    """Height scans of N robots with P points each."""

    def __init__(
        self,
        cfg: ScanConfig,
        ground: Ground,
        engine: Engine,
        step_dt: float,
        num_threads: int,
        buffers: Buffers,
    ):
        """Prepare; nothing is seen yet.

        Args:
            cfg: points, delay and drop-out.
            ground: what is looked at.
            engine: the robots.
            step_dt: duration of a policy step, s.
            num_threads: threads on a CPU, 0 for torch's.
            buffers: where their memory lies.
        """
        self.cfg = cfg
        count, device = cfg.shape[0] * cfg.shape[1], engine.device
        self.scan = HeightScan(cfg, ground, device, num_threads or torch.get_num_threads())
        self.heights = torch.zeros(engine.num_envs, count, device=device)
        """World z of the ground at the points, m, [N, P]."""
        delay = round(cfg.delay / step_dt)
        # newest first
        self._past = buffers.make("past_heights", delay + 1, count) if delay else None
        self.dropped = torch.zeros_like(self.heights) if cfg.dropout else None
        perfect = self._past is None and self.dropped is None
        self._needed = isinstance(ground, HeightField) or not perfect
        self.height_scan = self.heights if perfect else torch.zeros_like(self.heights)
        """The same as robots perceive it, late and with holes."""
        self.ground_height = torch.zeros(engine.num_envs, device=device)
        """Mean world z of the ground around each robot, m, [N]."""

    def draw_holes(self, generator: torch.Generator) -> None:
        """Draw which points are not seen, once a step."""
        if self.dropped is not None:
            self.dropped.uniform_(0.0, 1.0, generator=generator)

    def look(self, engine: Engine, mask: Tensor, new: bool = False) -> None:
        """Look at the ground around the robots in `mask`, bool [N].

        Args:
            engine: where the robots are.
            mask: robots that look.
            new: their episode begins: there is no past to see late.
        """
        if not self._needed:
            return
        self.scan(engine.base_pos, yaw_of(engine.base_quat), mask, self.heights)
        torch.mean(self.heights, dim=1, out=self.ground_height)
        seen, past = self.heights, self._past
        if past is not None:
            now = seen.unsqueeze(1)
            older = now.expand_as(past) if new else torch.cat((now, past[:, :-1]), 1)
            past.copy_(torch.where(mask[:, None, None], older, past))
            seen = past[:, -1]
        if self.dropped is not None:
            seen = torch.where(self.dropped < self.cfg.dropout, engine.base_pos[:, 2:] - SCAN_LEVEL, seen)
        if self.height_scan is not self.heights:
            self.height_scan.copy_(seen)

    def recall(self, engine: Engine) -> None:
        """What robots saw last, from a restored state; without holes, which are drawn at every step."""
        everyone = torch.ones_like(self.ground_height, dtype=torch.bool)
        self.scan(engine.base_pos, yaw_of(engine.base_quat), everyone, self.heights)
        if self.height_scan is not self.heights:
            self.height_scan.copy_(self.heights if self._past is None else self._past[:, -1])
