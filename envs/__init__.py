"""Environments: what a robot is asked to do."""

from envs.config import EnvConfig
from envs.legged_env import LeggedEnv
from envs.tasks import all_tasks, get_task, load_plugin, register_gymnasium_envs

register_gymnasium_envs()

__all__ = ["EnvConfig", "LeggedEnv", "all_tasks", "get_task", "load_plugin", "register_gymnasium_envs"]
