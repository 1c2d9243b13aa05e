"""PPO's gradients by compiled code on a CPU, where torch's general kernels leave half of the time unused.

A network says how its layers' weights follow from its parameters, and gradients the other way (tied weights of
mirror-symmetric networks); the compiled code does everything that depends on samples.
"""

from __future__ import annotations

import ctypes
from pathlib import Path

import torch
from torch import Tensor

from algorithms.config import PPOConfig
from algorithms.mlp import MLP
from algorithms.networks import ActorCritic
from native import SIMD, NoCompiler, build

_SAMPLES = ("actor_obs", "critic_obs", "actions", "means", "log_probs", "values", "advantages", "returns")


class _Layer(ctypes.Structure):
    """`Layer` of native/ppo.cpp."""

    _fields_ = [
        *((name, ctypes.c_int) for name in ("inputs", "outputs", "split")),
        *((name, ctypes.c_void_p) for name in ("weight", "bias", "weight_gradient", "bias_gradient")),
    ]


class _Batch(ctypes.Structure):
    """`Batch` of native/ppo.cpp."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in (*_SAMPLES, "log_std", "order")),
        ("size", ctypes.c_long),
        *((name, ctypes.c_int) for name in ("actor_columns", "critic_columns", "num_actions", "clip_value")),
        *((name, ctypes.c_float) for name in ("clip", "value_coef")),
        *((name, ctypes.c_void_p) for name in ("log_std_gradient", "sums")),
    ]


class _Weights:
    """One network's layers as the compiled code takes them."""

    def __init__(self, mlp: MLP):
        """Make the weights as they act now."""
        self._mlp = mlp
        self._made = [(weight.contiguous(), bias, split) for weight, bias, split in mlp.halved_tensors()]
        self._gradients = [(torch.empty_like(w), torch.empty_like(b)) for w, b, _ in self._made]
        self.layers = (_Layer * len(self._made))(
            *(
                _Layer(w.shape[1], len(b), split, w.data_ptr(), b.data_ptr(), dw.data_ptr(), db.data_ptr())
                for (w, b, split), (dw, db) in zip(self._made, self._gradients, strict=True)
            )
        )

    def finish(self) -> None:
        """Hand the gradients over to the parameters' `.grad`."""
        self._mlp.halved_gradients(self._gradients)


class NativeGradients:
    """Gradients of mini-batches of one rollout; see `loss_gradients` for the formulas."""

    def __init__(self, cfg: PPOConfig, policy: ActorCritic, entropy_coef: Tensor):
        """Compile, or load from the cache; NoCompiler where that is impossible."""
        self.cfg, self.policy, self.entropy_coef = cfg, policy, entropy_coef
        self._library = build(SIMD.read_text() + (Path(__file__).parent / "native/ppo.cpp").read_text())

    @torch.no_grad()
    def begin(self, flat: dict[str, Tensor]) -> None:
        """Take the samples of an update, each [S, ...] and contiguous."""
        policy = self.policy
        critic_obs = flat.get("critic_obs", flat["obs"])
        self._samples = {name: flat[name] for name in _SAMPLES[2:]} | {
            "actor_obs": policy.actor.halved_input(policy.normalise(flat["obs"])),
            "critic_obs": policy.critic.halved_input(policy.normalise_critic(critic_obs)),
        }
        if not all(
            values.is_contiguous() and values.dtype is torch.float32 for values in self._samples.values()
        ):
            raise ValueError("samples of an update must be contiguous float32 tensors")

    @torch.no_grad()
    def __call__(self, order: Tensor, old_log_std: Tensor) -> Tensor:
        """Gradients of a mini-batch into the parameters' `.grad`; returns surrogate loss, value loss and KL."""
        cfg, log_std, samples = self.cfg, self.policy.log_std.detach(), self._samples
        gradient, sums = torch.empty_like(log_std), torch.empty(3, dtype=torch.float64)
        batch = _Batch(**{name: samples[name].data_ptr() for name in _SAMPLES})
        batch.order, batch.size = order.data_ptr(), len(order)
        batch.actor_columns, batch.critic_columns = (samples[name].shape[1] for name in _SAMPLES[:2])
        batch.num_actions, batch.clip_value = len(log_std), cfg.clip_value
        batch.clip, batch.value_coef = cfg.clip, cfg.value_coef
        batch.log_std, batch.log_std_gradient = log_std.data_ptr(), gradient.data_ptr()
        batch.sums = sums.data_ptr()
        actor, critic = _Weights(self.policy.actor), _Weights(self.policy.critic)
        self._library.ppo_gradients(
            actor.layers,
            critic.layers,
            len(actor.layers),
            len(critic.layers),
            ctypes.byref(batch),
            torch.get_num_threads(),
        )
        self.policy.log_std.grad = gradient - self.entropy_coef
        actor.finish()
        critic.finish()
        surrogate, value, shift = (sums / len(order)).float()
        spread = torch.exp(2.0 * (old_log_std - log_std)) - 1.0
        kl = (log_std - old_log_std + 0.5 * spread).sum() + 0.5 * shift
        return torch.stack((surrogate, value, kl))


def native_gradients(policy: ActorCritic, cfg: PPOConfig, entropy_coef: Tensor) -> NativeGradients | None:
    """Compiled gradients, or None where there is no compiler (torch does it then, in two to three times the time)."""
    try:
        return NativeGradients(cfg, policy, entropy_coef)
    except NoCompiler:
        return None
