"""Environments: what a robot is asked to do."""

from envs.config import EnvConfig
from envs.legged_env import LeggedEnv

__all__ = ["EnvConfig", "LeggedEnv"]
