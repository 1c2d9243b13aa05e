"""A trained policy as TorchScript and ONNX, checked against the policy that was trained.

The graph is clip -> normaliser -> memory, if any -> MLP -> clip, in float32: it takes the scaled observation as it
is built and gives the action as the drives' targets are made of it. With a memory, the ONNX graph also takes and
gives the hidden state; the TorchScript module keeps it by itself until its `reset()`.
"""

from __future__ import annotations

import copy
import io
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

from algorithms.networks import Actor, ActorCritic

TORCHSCRIPT, ONNX = "policy.pt", "policy.onnx"
"""File names."""
INPUT, OUTPUT = "obs", "actions"
"""Names of the ONNX graph's input [batch, O] and output [batch, A]."""
HIDDEN, NEXT_HIDDEN = "hidden", "next_hidden"
"""Names of a recurrent graph's second input and output [batch, S]: zero at the start, then what came out last."""
TOLERANCE = 1e-5
"""Largest difference between exported and trained policy's actions, relative where an action exceeds 1."""
_OPSET = 17  # old enough for the runtimes found on robots
_SAMPLES, _STEPS = 1024, 16


@dataclass(frozen=True)
class ExportCheck:
    """What the check of an export found."""

    max_difference: float
    """Largest difference of an action over all samples and both formats."""
    observation: Tensor
    """One of the samples, the first of its episode, [O]."""
    action: Tensor
    """The trained policy's action for it, [A]."""


class PlainPolicy(nn.Module):
    """The deterministic policy made of nothing but standard layers."""

    def __init__(self, policy: ActorCritic, clip_observations: float, clip_actions: float):
        """Copy what acts from a policy; the limits are the environment's."""
        super().__init__()
        self.normaliser = copy.deepcopy(policy.obs_normaliser or nn.Identity())
        self.network = policy.actor.plain()
        self.clip_observations, self.clip_actions = float(clip_observations), float(clip_actions)

    def forward(self, obs: Tensor) -> Tensor:
        """Scaled observation, not clipped, [N, O] -> clipped action [N, A]."""
        return self._act(self._prepare(obs))

    def _prepare(self, obs: Tensor) -> Tensor:
        return self.normaliser(obs.clamp(-self.clip_observations, self.clip_observations))

    def _act(self, x: Tensor) -> Tensor:
        return self.network(x).clamp(-self.clip_actions, self.clip_actions)


class PlainStep(PlainPolicy):
    """The same of a recurrent policy, its hidden state coming and going."""

    def __init__(self, policy: ActorCritic, clip_observations: float, clip_actions: float):
        """See `PlainPolicy`."""
        super().__init__(policy, clip_observations, clip_actions)
        assert policy.actor_memory is not None
        self.memory = policy.actor_memory.plain(policy.num_obs)

    def forward(self, obs: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """[N, O] and [N, S] -> clipped action [N, A] and next hidden state [N, S]."""
        x, hidden = self._prepare(obs), hidden.unsqueeze(0)
        if isinstance(self.memory, nn.LSTM):
            h, c = hidden.chunk(2, -1)
            remembered, state = self.memory(x.unsqueeze(0), (h.contiguous(), c.contiguous()))
            hidden = torch.cat(state, -1)
        else:
            remembered, hidden = self.memory(x.unsqueeze(0), hidden)
        return self._act(torch.cat((x, remembered.squeeze(0)), -1)), hidden.squeeze(0)


class Remembering(nn.Module):
    """Keeps the hidden state of a traced `PlainStep` between calls."""

    def __init__(self, step: torch.jit.ScriptModule, hidden_size: int):
        """`hidden_size` is S."""
        super().__init__()
        self.step = step
        self.hidden = torch.zeros(1, hidden_size)

    def forward(self, obs: Tensor) -> Tensor:
        """[N, O] -> [N, A]; another N than before starts anew."""
        if self.hidden.shape[0] != obs.shape[0] or self.hidden.device != obs.device:
            self.hidden = torch.zeros(obs.shape[0], self.hidden.shape[1], device=obs.device)
        actions, self.hidden = self.step(obs, self.hidden)
        return actions

    @torch.jit.export
    def reset(self) -> None:
        """Forget everything, as at the start of an episode."""
        self.hidden = torch.zeros_like(self.hidden)


def sample_observations(policy: ActorCritic, count: int, seed: int = 0) -> Tensor:
    """Random observations [count, O] of the size met in training.

    Statistics are the normaliser's; without one, half a unit around zero, which the scales aim at.
    """
    normaliser = policy.obs_normaliser
    noise = torch.randn(count, policy.num_obs, generator=torch.Generator().manual_seed(seed))
    return 0.5 * noise if normaliser is None else normaliser.mean + normaliser.var.sqrt() * noise


@torch.no_grad()
def export_policy(
    policy: ActorCritic, folder: Path, clip_observations: float, clip_actions: float
) -> ExportCheck:
    """Write `policy.pt` and `policy.onnx` into a folder and compare both with the policy.

    1,024 random observations are compared, 16 steps of 64 robots.

    Args:
        policy: the trained policy, on any device; it is not changed.
        folder: where the files go; it exists.
        clip_observations: largest magnitude of a scaled observation.
        clip_actions: largest magnitude of an action.

    Raises:
        ValueError: a file's actions differ from the policy's by more than `TOLERANCE`; the sentence says by
            how much.
    """
    policy = copy.deepcopy(policy).cpu().eval()
    plain = (PlainStep if policy.recurrent else PlainPolicy)(policy, clip_observations, clip_actions).eval()
    plain.requires_grad_(False)  # else a hidden state would keep the graph of all steps so far
    obs = sample_observations(policy, _SAMPLES).view(_STEPS, -1, policy.num_obs)
    example: tuple[Tensor, ...] = (obs[0, :1],)
    inputs, outputs = [INPUT], [OUTPUT]
    if policy.recurrent:
        example += (torch.zeros(1, policy.hidden_size),)
        inputs, outputs = [INPUT, HIDDEN], [OUTPUT, NEXT_HIDDEN]
    with warnings.catch_warnings():
        # Both formats come from tracing, which torch calls deprecated; a chain of layers needs no more.
        warnings.simplefilter("ignore")
        script = torch.jit.trace(plain, example)
        if policy.recurrent:
            script = torch.jit.script(Remembering(script, policy.hidden_size))
        # through memory: torch ends the program where a disk is full
        buffer = io.BytesIO()
        torch.jit.save(script, buffer)
        (folder / TORCHSCRIPT).write_bytes(buffer.getvalue())
        torch.onnx.export(
            plain,
            example,
            str(folder / ONNX),
            input_names=inputs,
            output_names=outputs,
            dynamic_axes={name: {0: "batch"} for name in inputs + outputs},
            opset_version=_OPSET,
            dynamo=False,
        )
        script = torch.jit.load(str(folder / TORCHSCRIPT))
    actor = Actor(policy)
    actions = torch.stack([actor(x.clamp(-clip_observations, clip_observations)) for x in obs])
    actions.clamp_(-clip_actions, clip_actions)
    onnx = run_onnx(folder / ONNX, obs.numpy())
    differences = {
        TORCHSCRIPT: (torch.stack([script(x) for x in obs]) - actions).abs(),
        ONNX: (torch.from_numpy(onnx) - actions).abs(),
    }
    for name, difference in differences.items():
        # written so that NaN fails as well
        if not bool((difference <= TOLERANCE * actions.abs().clamp(min=1.0)).all()):
            worst = difference.max().item()
            raise ValueError(
                f"{name} differs from the trained policy by {worst:.2g}, more than {TOLERANCE:.0e}"
            )
    largest = max(difference.max().item() for difference in differences.values())
    return ExportCheck(largest, obs[0, 0], actions[0, 0])


def run_onnx(path: Path, obs: np.ndarray) -> np.ndarray:
    """Actions of an exported policy on one thread, float32.

    Args:
        path: the ONNX file.
        obs: observations [N, O], or of T steps from the start of an episode on [T, N, O].

    Returns:
        [N, A] or [T, N, A].
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    memory = {
        feed.name: np.zeros((obs.shape[-2], feed.shape[1]), np.float32) for feed in session.get_inputs()[1:]
    }
    actions = []
    for step in obs.reshape(-1, *obs.shape[-2:]):
        action, *hidden = session.run(None, {INPUT: step, **memory})
        memory = dict(zip(memory, hidden, strict=True))
        actions.append(action)
    return np.stack(actions).reshape(*obs.shape[:-1], -1)
