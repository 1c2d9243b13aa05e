"""How a policy learns: networks, rollout storage, PPO and the training loop."""

from algorithms.config import LearnerConfig, PolicyConfig, PPOConfig
from algorithms.networks import ActorCritic
from algorithms.ppo import PPO
from algorithms.trainer import Trainer, make_policy

__all__ = ["PPO", "ActorCritic", "LearnerConfig", "PPOConfig", "PolicyConfig", "Trainer", "make_policy"]
