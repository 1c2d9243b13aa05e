"""How a policy learns: networks, rollout storage, PPO and the training loop."""

from algorithms.config import LearnerConfig, PolicyConfig, PPOConfig
from algorithms.networks import Actor, ActorCritic
from algorithms.ppo import PPO
from algorithms.trainer import Trainer, make_policy

__all__ = [
    "PPO",
    "Actor",
    "ActorCritic",
    "LearnerConfig",
    "PPOConfig",
    "PolicyConfig",
    "Trainer",
    "make_policy",
]
