"""Every hyper-parameter of the learner; defaults are the reference method's (Rudin et al. 2021)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass
class PolicyConfig:
    """Actor and critic networks."""

    actor_hidden: tuple[int, ...] = (128, 64, 32)
    """Widths of the actor's hidden layers (ELU)."""
    critic_hidden: tuple[int, ...] = (128, 64, 32)
    """Widths of the critic's hidden layers (ELU)."""
    init: Literal["orthogonal", "default"] = "default"
    """Initial weights: orthogonal (actor's output x 0.01), or torch's default."""
    init_std: float = 1.0
    """Initial standard deviation of the actions."""
    std_range: tuple[float, float] = (0.05, 2.0)
    """Bounds of the standard deviation: it can neither vanish nor explode."""
    normalise_obs: bool = False
    """Normalise observations by their running mean and standard deviation."""
    symmetry: Literal["none", "equivariant", "augmentation"] = "none"
    """equivariant: weights tied so that a mirrored observation gives exactly the mirrored action.
    augmentation: plain weights, and every sample counts again as seen in the mirror."""
    recurrent: Literal["none", "lstm", "gru"] = "none"
    """A memory before the MLP, of actor and critic each: for what a single observation does not show."""
    recurrent_hidden: int = 128
    """Hidden units of a memory."""


@dataclass
class PPOConfig:
    """Proximal policy optimisation (Schulman et al., arXiv 1707.06347)."""

    num_steps: int = 24
    """Steps of every robot between updates."""
    num_epochs: int = 5
    """Passes over the samples in an update."""
    num_mini_batches: int = 4
    """Mini-batches in a pass."""
    clip: float = 0.2
    """Clipping range of the probability ratio, and of the value."""
    clip_value: bool = True
    """Clip the value's change like the ratio's."""
    gamma: float = 0.99
    """Discount per step."""
    lam: float = 0.95
    """Lambda of generalised advantage estimation (Schulman et al., arXiv 1506.02438)."""
    entropy_coef: float = 0.01
    """Weight of the entropy bonus."""
    entropy_half_life: int = 0
    """Updates in which `entropy_coef` halves: wide exploration first, then a policy that acts as well without
    its noise. 0: constant."""
    entropy_hold: int = 0
    """Updates before that begins."""
    value_coef: float = 1.0
    """Weight of the value loss."""
    learning_rate: float = 1e-3
    """Initial learning rate of Adam."""
    schedule: Literal["adaptive", "fixed"] = "adaptive"
    """adaptive: x 1.5 when the KL divergence is below half of `desired_kl`, / 1.5 above twice."""
    desired_kl: float = 0.01
    """KL divergence of an update that the learning rate is adapted to."""
    kl_half_life: int = 0
    """Updates after which `desired_kl` has halved: large steps first, small ones to settle. 0: constant."""
    learning_rate_range: tuple[float, float] = (1e-5, 1e-2)
    """Bounds of the adaptive learning rate."""
    max_grad_norm: float = 1.0
    """Largest norm of the gradient."""


@dataclass
class LearnerConfig:
    """How a policy learns."""

    policy: PolicyConfig = field(default_factory=PolicyConfig)
    ppo: PPOConfig = field(default_factory=PPOConfig)
    average_decay: float = 0.0
    """Weight of the past, by iteration, in a running average of the policy's weights; 0 for none. The average is
    what is evaluated, played and exported: it walks more steadily than any policy that large steps pass through.
    After n updates the past weighs at most (1 + n) / (10 + n), so that early the average does not lag behind."""
    save_interval: int = 50
    """Iterations between checkpoints."""
    eval_envs: int = 128
    """Robots of the evaluation that precedes each checkpoint; 0 for none."""
    eval_seconds: float = 10.0
    """Length of that evaluation, s."""
    max_bad_updates: int = 5
    """Stop after this many iterations in a row in which a mini-batch had to be skipped."""

    def validate(self) -> None:
        """Check ranges; ValueError with one sentence that names the field."""
        ppo, policy = self.ppo, self.policy
        if not 0.0 <= self.average_decay < 1.0:
            raise ValueError(f"agent.average_decay must lie in [0, 1), not {self.average_decay}")
        for name, value in (
            ("ppo.num_steps", ppo.num_steps),
            ("ppo.num_epochs", ppo.num_epochs),
            ("ppo.num_mini_batches", ppo.num_mini_batches),
            ("ppo.clip", ppo.clip),
            ("ppo.learning_rate", ppo.learning_rate),
            ("ppo.max_grad_norm", ppo.max_grad_norm),
            ("ppo.desired_kl", ppo.desired_kl),
            ("policy.init_std", policy.init_std),
            ("policy.std_range", policy.std_range[0]),
            ("policy.recurrent_hidden", policy.recurrent_hidden),
            ("ppo.learning_rate_range", ppo.learning_rate_range[0]),
            ("save_interval", self.save_interval),
            ("max_bad_updates", self.max_bad_updates),
            ("eval_seconds", self.eval_seconds),
            *((f"policy.{kind}", min(getattr(policy, kind), default=1)) for kind in _HIDDEN),
        ):
            if not value > 0:
                raise ValueError(f"agent.{name} must be greater than 0, not {value}")
        for name in ("kl_half_life", "entropy_half_life", "entropy_hold", "entropy_coef", "value_coef"):
            if getattr(ppo, name) < 0:
                raise ValueError(f"agent.ppo.{name} must not be negative, not {getattr(ppo, name)}")
        for name, value in (("ppo.gamma", ppo.gamma), ("ppo.lam", ppo.lam)):
            if not 0 <= value <= 1:
                raise ValueError(f"agent.{name} must lie between 0 and 1, not {value}")
        if not policy.std_range[0] <= policy.init_std <= policy.std_range[1]:
            raise ValueError(
                f"agent.policy.init_std {policy.init_std} lies outside of agent.policy.std_range {policy.std_range}"
            )
        low, high = ppo.learning_rate_range
        if ppo.schedule == "adaptive" and not low <= ppo.learning_rate <= high:
            raise ValueError(
                f"agent.ppo.learning_rate {ppo.learning_rate} lies outside of agent.ppo.learning_rate_range "
                f"({low}, {high})"
            )
        if policy.symmetry == "augmentation" and policy.recurrent != "none":
            raise ValueError(
                "agent.policy.symmetry augmentation needs agent.policy.recurrent none; a recurrent policy can "
                "be equivariant"
            )


_HIDDEN = ("actor_hidden", "critic_hidden")
