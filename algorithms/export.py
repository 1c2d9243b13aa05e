"""A trained policy as TorchScript and ONNX, checked against the policy that was trained.

The graph is clip -> normaliser -> MLP -> clip, in float32: it takes the scaled observation as it is built and
gives the action as the drives' targets are made of it.
"""

from __future__ import annotations

import copy
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

from algorithms.networks import ActorCritic

TORCHSCRIPT, ONNX = "policy.pt", "policy.onnx"
"""File names."""
INPUT, OUTPUT = "obs", "actions"
"""Names of the ONNX graph's input [batch, O] and output [batch, A]."""
TOLERANCE = 1e-5
"""Largest difference between exported and trained policy's actions, relative where an action exceeds 1."""
_OPSET = 17  # old enough for the runtimes found on robots
_SAMPLES = 1024


@dataclass(frozen=True)
class ExportCheck:
    """What the check of an export found."""

    max_difference: float
    """Largest difference of an action over all samples and both formats."""
    observation: Tensor
    """One of the samples, [O]."""
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
        obs = obs.clamp(-self.clip_observations, self.clip_observations)
        return self.network(self.normaliser(obs)).clamp(-self.clip_actions, self.clip_actions)


def sample_observations(policy: ActorCritic, count: int, seed: int = 0) -> Tensor:
    """Random observations [count, O] of the size met in training.

    Statistics are the normaliser's; without one, half a unit around zero, which the scales aim at.
    """
    normaliser = policy.obs_normaliser
    width = next(policy.actor.plain().parameters()).shape[1]
    noise = torch.randn(count, width, generator=torch.Generator().manual_seed(seed))
    return 0.5 * noise if normaliser is None else normaliser.mean + normaliser.var.sqrt() * noise


@torch.no_grad()
def export_policy(
    policy: ActorCritic, folder: Path, clip_observations: float, clip_actions: float
) -> ExportCheck:
    """Write `policy.pt` and `policy.onnx` into a folder and compare both with the policy.

    1,024 random observations are compared.

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
    plain = PlainPolicy(policy, clip_observations, clip_actions).eval()
    obs = sample_observations(policy, _SAMPLES)
    with warnings.catch_warnings():
        # Both formats come from tracing, which torch calls deprecated; a chain of layers needs no more.
        warnings.simplefilter("ignore")
        torch.jit.trace(plain, obs[:1]).save(str(folder / TORCHSCRIPT))
        torch.onnx.export(
            plain,
            (obs[:1],),
            str(folder / ONNX),
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_axes={INPUT: {0: "batch"}, OUTPUT: {0: "batch"}},
            opset_version=_OPSET,
            dynamo=False,
        )
        script = torch.jit.load(str(folder / TORCHSCRIPT))
    actions = policy.mean(obs.clamp(-clip_observations, clip_observations)).clamp(-clip_actions, clip_actions)
    onnx = run_onnx(folder / ONNX, obs.numpy())
    differences = {
        TORCHSCRIPT: (script(obs) - actions).abs(),
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
    return ExportCheck(largest, obs[0], actions[0])


def run_onnx(path: Path, obs: np.ndarray) -> np.ndarray:
    """Actions [N, A] of an exported policy for observations [N, O], float32, on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run([OUTPUT], {INPUT: obs})[0])
