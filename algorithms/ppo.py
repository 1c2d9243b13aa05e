"""Proximal policy optimisation, with every decision (learning rate, clipping, skipping) on the device."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from algorithms.backprop import Layers, added_up, aligned, backward, forward, pair
from algorithms.config import PPOConfig
from algorithms.distributed import ALONE, Ranks
from algorithms.memory import image
from algorithms.native_update import native_gradients
from algorithms.networks import ActorCritic
from algorithms.rollout import RolloutBuffer
from native.launch import fused

LOG_2PI = math.log(2.0 * math.pi)


def log_prob(actions: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """Log density of a diagonal Gaussian; [B, A], [B, A], [A] -> [B]."""
    z = (actions - mean) * torch.exp(-log_std)
    return -0.5 * z.square().sum(-1) - (log_std.sum() + 0.5 * LOG_2PI * mean.shape[-1])


@dataclass
class LossGradients:
    """PPO's loss at each of B samples with A actions, and its gradients by the networks' outputs."""

    mean: Tensor
    """Gradient of the mini-batch's loss by the mean action, [B, A]."""
    value: Tensor
    """Gradient by the value, [B]."""
    log_std: Tensor
    """Each sample's part of the gradient by the log standard deviation, without the entropy's, [B, A]."""
    surrogate: Tensor
    """Clipped surrogate, [B]."""
    value_error: Tensor
    """Squared error of the value, [B]."""
    shift: Tensor
    """Squared change of the mean action, in standard deviations, [B, A]."""


def loss_gradients(
    cfg: PPOConfig,
    mean: Tensor,
    log_std: Tensor,
    value: Tensor,
    actions: Tensor,
    old_mean: Tensor,
    old_log_prob: Tensor,
    old_value: Tensor,
    advantage: Tensor,
    returns: Tensor,
) -> LossGradients:
    """Clipped surrogate and clipped value loss (arXiv 1707.06347), differentiated by hand.

    The formulas are a dozen element-wise operations; writing their derivative beside them spares autograd's
    graph of forty. B samples, A actions; [B, A] and [B] tensors as named.
    """
    inverse_batch = 1.0 / len(value)
    inverse_std = torch.exp(-log_std)
    z = (actions - mean) * inverse_std
    z2 = z.square()
    constant = log_std.sum() + 0.5 * LOG_2PI * mean.shape[-1]
    ratio = torch.exp(-0.5 * z2.sum(1) - constant - old_log_prob)
    gain, clipped_gain = advantage * ratio, advantage * ratio.clamp(1.0 - cfg.clip, 1.0 + cfg.clip)
    # d(-surrogate)/d(log prob) is -gain where the unclipped branch is the smaller one, else zero
    weight = (torch.where(gain <= clipped_gain, gain, 0.0) * -inverse_batch).unsqueeze(1)

    error = value - returns
    if cfg.clip_value:
        change = value - old_value
        clipped_error = old_value + change.clamp(-cfg.clip, cfg.clip) - returns
        use_clipped = clipped_error.square() > error.square()
        # where the clipped branch counts, its error is constant unless the change lies inside the range
        inside = change.abs() <= cfg.clip
        slope = torch.where(use_clipped, clipped_error * inside, error)
        error = torch.where(use_clipped, clipped_error, error)
    else:
        slope = error
    return LossGradients(
        mean=z * inverse_std * weight,
        value=slope * (2.0 * cfg.value_coef * inverse_batch),
        log_std=weight * (z2 - 1.0),
        surrogate=torch.minimum(gain, clipped_gain),
        value_error=error.square(),
        shift=((old_mean - mean) * inverse_std).square(),
    )


def loss_figures(
    loss: LossGradients, entropy_coef: Tensor | float, log_std: Tensor, old_log_std: Tensor
) -> tuple[Tensor, Tensor]:
    """Sums over the samples.

    Args:
        loss: of all samples.
        entropy_coef: weight of the entropy bonus.
        log_std: log standard deviation, [A].
        old_log_std: that of the policy that acted, [A].

    Returns:
        gradient by the log standard deviation, [A]; surrogate loss, value loss, and KL divergence from the policy
        that acted (nats), [3].
    """
    variance_ratio = torch.exp(2.0 * (old_log_std - log_std))
    kl = (log_std - old_log_std + 0.5 * (variance_ratio + loss.shift.mean(0)) - 0.5).sum()
    terms = torch.stack((-loss.surrogate.mean(), loss.value_error.mean(), kl))
    return loss.log_std.sum(0) - entropy_coef, terms


class PPO:
    """Updates an `ActorCritic` from a `RolloutBuffer`."""

    def __init__(self, policy: ActorCritic, cfg: PPOConfig, device: torch.device, ranks: Ranks = ALONE):
        self.policy, self.cfg, self.ranks = policy, cfg, ranks
        self.parameters = list(policy.parameters())
        self.learning_rate = torch.tensor(cfg.learning_rate, device=device)
        """Learning rate, a tensor on the device."""
        self.desired_kl = torch.tensor(cfg.desired_kl, device=device)
        """KL divergence that the learning rate is adapted to, a tensor on the device."""
        self.entropy_coef = torch.tensor(cfg.entropy_coef, device=device)
        """Weight of the entropy bonus, a tensor on the device."""
        self.updates = torch.tensor(0, device=device)
        """Updates so far, a tensor on the device."""
        self.optimizer = torch.optim.Adam(
            self.parameters, lr=self.learning_rate, fused=True, capturable=device.type == "cuda"
        )
        self._alike = policy.cfg.actor_hidden == policy.cfg.critic_hidden and policy.obs_normaliser is None
        by_sample = device.type == "cpu" and not policy.recurrent
        self._native = native_gradients(policy, cfg, self.entropy_coef) if by_sample else None

    def compile(self, backend: str = "inductor") -> None:
        """From now on let torch.compile make few kernels of a mini-batch's gradients and decisions.

        Args:
            backend: of torch.compile.
        """
        if not self.policy.recurrent and not self._native:
            self._passes = fused(self._passes, backend)  # type: ignore[method-assign]
            self._fold = fused(self._fold, backend)  # type: ignore[method-assign]
        self._decide = fused(self._decide, backend)  # type: ignore[method-assign]

    @torch.no_grad()
    def update(self, rollout: RolloutBuffer, generator: torch.Generator) -> dict[str, Tensor]:
        """One update; returns 0-d tensors for the log, of which `skipped` counts mini-batches left out."""
        cfg, policy = self.cfg, self.policy
        device = rollout.obs.device
        gradients: Callable[[Tensor, Tensor], Tensor]
        if policy.recurrent:  # whole sequences: mini-batches are of robots
            items, gradients = rollout.num_envs, partial(self._sequence_gradients, rollout)
        else:
            flat = self._samples(rollout)
            items, gradients = len(flat["obs"]), self._native or partial(self._sample_gradients, flat)
            if self._native:
                self._native.begin(flat)
        batch = items // cfg.num_mini_batches
        old_log_std = policy.log_std.detach().clone()
        totals = torch.zeros(4, device=device)  # surrogate loss, value loss, KL, skipped
        for _ in range(cfg.num_epochs):
            order = torch.randperm(items, generator=generator, device=device)
            for k in range(cfg.num_mini_batches):
                self._apply(gradients(order[k * batch : (k + 1) * batch], old_log_std), totals)
        if cfg.kl_half_life:
            self.desired_kl *= 0.5 ** (1.0 / cfg.kl_half_life)
        self.updates += 1
        if cfg.entropy_half_life:
            self.entropy_coef *= 0.5 ** ((self.updates > cfg.entropy_hold) / cfg.entropy_half_life)
        done = (cfg.num_epochs * cfg.num_mini_batches - totals[3]).clamp(min=1.0)
        return {
            "surrogate": totals[0] / done,
            "value_function": totals[1] / done,
            "kl": totals[2] / done,
            "learning_rate": self.learning_rate.clone(),
            "entropy": (policy.log_std.detach() + 0.5 * (1.0 + LOG_2PI)).sum(),
            "mean_noise_std": policy.log_std.detach().exp().mean(),
            "skipped": totals[3],
        }

    def _samples(self, rollout: RolloutBuffer) -> dict[str, Tensor]:
        """Every sample on its own, [S, ...]; with augmentation, behind them the same as seen in the mirror.

        An image has its sample's probability, but the mean that the policy had for what it shows: the KL
        divergence of a policy that did not change is 0, although it does not act in the mirror as it should.
        """
        names = ["obs", "actions", "means", "log_probs", "values", "advantages", "returns"]
        names += [] if rollout.critic_obs is rollout.obs else ["critic_obs"]
        flat = {name: getattr(rollout, name).flatten(0, 1) for name in names}
        if self.policy.cfg.symmetry == "augmentation":
            obs, action, critic_obs = self.policy.mirrors
            mirrors = {"obs": obs, "actions": action, "critic_obs": critic_obs}
            images = {
                name: image(values, mirror) if (mirror := mirrors.get(name)) else values
                for name, values in flat.items()
            }
            with torch.no_grad():
                images["means"] = self.policy.mean(images["obs"])
            flat = {name: torch.cat((values, images[name])) for name, values in flat.items()}
        return flat

    @torch.no_grad()
    def _sample_gradients(self, flat: dict[str, Tensor], order: Tensor, old_log_std: Tensor) -> Tensor:
        """Gradients of a mini-batch into the parameters' `.grad`; returns surrogate loss, value loss and KL.

        Args:
            flat: all samples.
            order: indices of the mini-batch's samples.
            old_log_std: log standard deviation of the policy that acted.
        """
        by_layer, loss = self._passes(flat, order)
        gradients, terms = self._fold(by_layer, loss, old_log_std)
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient
        return terms

    def _passes(self, flat: dict[str, Tensor], order: Tensor) -> tuple[Layers, LossGradients]:
        """Forward, loss and backward of a mini-batch: what `_fold` adds up."""
        policy = self.policy
        # not flat[...][order]: index_select copies whole rows, several times faster on a CPU
        part = {name: values.index_select(0, order) for name, values in flat.items()}
        obs = policy.normalise(part["obs"])
        actor, critic = policy.actor.tensors(), policy.critic.tensors()
        paired = self._alike and "critic_obs" not in part
        if paired:
            layers, obs = aligned(pair(actor, critic), obs)
            outputs = forward(layers, obs)
            mean, value = outputs[-1][0], outputs[-1][1, :, 0]
        else:
            critic_obs = policy.normalise_critic(part.get("critic_obs", part["obs"]))
            (actor, obs), (critic, critic_obs) = aligned(actor, obs), aligned(critic, critic_obs)
            means, values = forward(actor, obs), forward(critic, critic_obs)
            mean, value = means[-1], values[-1].squeeze(1)
        loss = loss_gradients(
            self.cfg,
            mean,
            policy.log_std.detach(),
            value,
            part["actions"],
            part["means"],
            part["log_probs"],
            part["values"],
            part["advantages"],
            part["returns"],
        )
        by_value = loss.value.unsqueeze(1)
        if paired:
            by_value = functional.pad(by_value, (0, mean.shape[1] - 1))
            return backward(layers, obs, outputs, torch.stack((loss.mean, by_value))), loss
        by_actor = backward(actor, obs, means, loss.mean)
        return by_actor + backward(critic, critic_obs, values, by_value), loss

    def _fold(
        self, gradients: Layers, loss: LossGradients, old_log_std: Tensor
    ) -> tuple[list[Tensor], Tensor]:
        """Sums over the mini-batch: gradients of the parameters, in their order, and the loss's three figures."""
        by_log_std, terms = loss_figures(loss, self.entropy_coef, self.policy.log_std.detach(), old_log_std)
        both, count = added_up(gradients), len(self.policy.cfg.actor_hidden) + 1
        by_actor, by_critic = both[:count], both[count:]
        if not by_critic:  # a pair
            by_actor, by_critic = ([(weight[i], bias[i]) for weight, bias in both] for i in range(2))
            by_critic[-1] = by_critic[-1][0][:1], by_critic[-1][1][:1]
        folded = [by_log_std]
        for network, layers in ((self.policy.actor, by_actor), (self.policy.critic, by_critic)):
            (weight, bias), inputs = layers[0], network.tensors()[0][0].shape[1]
            folded += network.gradients([(weight[:, :inputs], bias), *layers[1:]])
        return [gradient.contiguous() for gradient in folded], terms

    @torch.no_grad()
    def _sequence_gradients(self, rollout: RolloutBuffer, robots: Tensor, old_log_std: Tensor) -> Tensor:
        """As `_sample_gradients`, through time: all steps of the robots with the given indices."""
        policy, dones = self.policy, rollout.dones[:, robots]
        with torch.enable_grad():
            mean = policy.mean_sequence(rollout.obs[:, robots], rollout.actor_hidden[robots], dones)
            critic_obs = rollout.critic_obs[:, robots]
            value, _ = policy.value_sequence(critic_obs, rollout.critic_hidden[robots], dones)
        loss = loss_gradients(
            self.cfg,
            mean.detach().flatten(0, 1),
            policy.log_std.detach(),
            value.detach().flatten(),
            rollout.actions[:, robots].flatten(0, 1),
            rollout.means[:, robots].flatten(0, 1),
            rollout.log_probs[:, robots].flatten(),
            rollout.values[:, robots].flatten(),
            rollout.advantages[:, robots].flatten(),
            rollout.returns[:, robots].flatten(),
        )
        self.optimizer.zero_grad(set_to_none=True)
        log_std = policy.log_std.detach()
        policy.log_std.grad, terms = loss_figures(loss, self.entropy_coef, log_std, old_log_std)
        torch.autograd.backward((mean, value), (loss.mean.view_as(mean), loss.value.view_as(value)))
        return terms

    def _apply(self, terms: Tensor, totals: Tensor) -> None:
        """Take an optimiser step with the parameters' gradients, unless something is not finite.

        Args:
            terms: surrogate loss, value loss and KL of the mini-batch, [3].
            totals: sums of these over the mini-batches that count, and the number of others, [4]; changed.
        """
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        self.ranks.average([*gradients, terms])  # not finite on one, not finite on all
        scale, bad = self._decide(torch.stack(torch._foreach_norm(gradients)), terms, totals)
        # Fused Adam divides gradients by grad_scale and does nothing where found_inf is set, on the device.
        self.optimizer.grad_scale, self.optimizer.found_inf = scale, bad  # type: ignore[attr-defined]
        self.optimizer.step()
        self.policy.bound_std()

    def _decide(self, norms: Tensor, terms: Tensor, totals: Tensor) -> tuple[Tensor, Tensor]:
        """Adapt the learning rate and count; returns what to divide gradients by, and 1 if they are not finite."""
        cfg, kl, rate = self.cfg, terms[2], self.learning_rate
        norm = norms.norm()
        bad = ~torch.isfinite(norm + terms.sum())
        if cfg.schedule == "adaptive":
            factor = torch.where(
                kl > 2.0 * self.desired_kl, 1.0 / 1.5, torch.where(kl < 0.5 * self.desired_kl, 1.5, 1.0)
            )
            rate.copy_(torch.where(bad, rate, (rate * factor).clamp(*cfg.learning_rate_range)))
        totals.add_(torch.cat((torch.where(bad, 0.0, terms), bad.float().unsqueeze(0))))
        return (norm / cfg.max_grad_norm).clamp(min=1.0), bad.float()

    def state_dict(self) -> dict:
        """Optimiser, and what changes as updates go by."""
        return {
            "optimizer": self.optimizer.state_dict(),
            "learning_rate": self.learning_rate.clone(),
            "desired_kl": self.desired_kl.clone(),
            "entropy_coef": self.entropy_coef.clone(),
            "updates": self.updates.clone(),
        }

    def load_state_dict(self, state: dict) -> None:
        """Continue where `state_dict` was taken."""
        self.optimizer.load_state_dict(state["optimizer"])
        self.learning_rate.copy_(state["learning_rate"])
        self.desired_kl.copy_(state["desired_kl"])
        self.entropy_coef.copy_(state.get("entropy_coef", self.entropy_coef))  # it was constant once
        self.updates.copy_(state.get("updates", self.updates))
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate
