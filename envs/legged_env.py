"""N legged robots that follow velocity commands: one batched gymnasium environment on torch tensors."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from torch import Tensor

from envs.actuators import Actuator, actuation
from envs.buffers import Buffers
from envs.commands import Commands
from envs.config import EnvConfig
from envs.course import Course
from envs.observer import Observer
from envs.perception import Perception
from envs.pushes import Pushes
from envs.randomisation import Randomisation
from envs.rewards import ang_vel_error, lin_vel_error
from envs.state import make_state
from envs.symmetry import mirror_joints
from physics import make_engine
from terrains.grid import Terrain, make_terrain
from terrains.ground import Ground, Plane

RUNAWAY = 20.0
"""No robot is that fast, m/s: one that was squeezed out of the ground is, once in many millions of steps."""


class LeggedEnv(gym.vector.VectorEnv):
    """Vector environment whose arrays are float32 tensors on `device`.

    `step` resets finished robots in the same step (`AutoresetMode.SAME_STEP`): the returned observation is
    the new episode's, `info["final_obs"]` holds the last one of the old (for robots that go on, it is the
    returned one but for a push and a new command). Observations are dicts: `policy` [N, O] and `critic`
    [N, C], the same tensor unless `EnvConfig.own_critic`. All returned tensors are reused by the next step:
    clone what must last. Every mutable tensor is in `state_dict()`.
    """

    metadata: dict[str, Any] = {"autoreset_mode": AutoresetMode.SAME_STEP}

    def __init__(
        self,
        cfg: EnvConfig,
        num_envs: int,
        engine: str = "auto",
        device: str = "cpu",
        num_threads: int = 0,
        seed: int = 1,
        ground: Ground | None = None,
        terrain: Terrain | None = None,
    ):
        """Build the environment; call `reset` before `step`.

        Args:
            cfg: the task.
            num_envs: number of robots N.
            engine: physics engine, see `physics.ENGINES`.
            device: where every tensor lives.
            num_threads: threads of a CPU engine, 0 for one per core.
            seed: seed of everything random.
            ground: what the robots stand on instead of `cfg.terrain`.
            terrain: a map that is made already, instead of `cfg.terrain`.

        Raises:
            ValueError: a value out of range, or an engine that does not fit.
        """
        cfg.validate()
        if num_envs < 1:
            raise ValueError(f"num_envs must be at least 1, not {num_envs}")
        if ground is None:
            terrain = terrain or make_terrain(cfg.terrain)
            ground = terrain.ground if terrain else Plane()
        self.cfg, self.ground = cfg, ground
        self.num_envs = num_envs
        self.device = torch.device(device)
        self.engine, self.engine_choice = make_engine(
            engine,
            cfg.robot,
            ground,
            num_envs,
            cfg.sim.timestep,
            device,
            num_threads,
            actuation(cfg),
        )
        self.joint_names = self.engine.joint_names
        self.num_actions = len(self.joint_names)
        self.step_dt = cfg.step_dt
        self.max_episode_length = round(cfg.episode_length / self.step_dt)
        self.generator = torch.Generator(self.device)
        self.generator.manual_seed(seed)
        self._all = torch.ones(num_envs, dtype=torch.bool, device=self.device)

        self._buffers = buffers = Buffers(num_envs, self.device)
        self.randomisation = Randomisation(cfg.randomisation, self.engine, buffers)
        self.randomised = self.randomisation.values
        self.course = Course(cfg.curriculum, terrain, cfg.episode_length, buffers) if terrain else None
        """Where robots are on the map, None without one."""
        self.perception = Perception(cfg.scan, ground, self.engine, self.step_dt, num_threads, buffers)
        self.commands = Commands(cfg.commands, self.step_dt, self.max_episode_length, buffers)
        self.pushes = Pushes(cfg.randomisation, self.step_dt, buffers, self._uniform)
        self.actuator = Actuator(cfg, self.engine, buffers, self._uniform)
        self.state = make_state(
            cfg.robot,
            self.engine,
            buffers,
            self.perception,
            self.commands.command,
            self.randomisation,
            self.step_dt,
        )
        self.default_joint_pos, self.effort_limits = self.state.default_joint_pos, self.state.effort_limits
        self.action = self.state.action
        self.command, self.heading_target = self.commands.command, self.commands.heading_target
        self.episode_length = buffers.make("episode_length", dtype=torch.int64)
        self.reward_terms = {name: term for name, term in cfg.rewards.items() if term.weight != 0.0}
        self.episode_sums = buffers.make("episode_sums", len(self.reward_terms))
        self._make_spaces()
        self._initial = buffers.state_dict()
        self._draw_robots()

    def _make_spaces(self) -> None:
        """Layouts of actions and observations, and how both look in the mirror."""
        self.observer = observer = Observer(self.cfg, self.state, self.joint_names)
        self._obs, self._final_obs = observer.empty(), observer.empty()
        self.obs_layout, self.critic_obs_layout = observer.layouts["policy"], observer.layouts["critic"]
        """Observation term -> number of columns, in order."""
        self.num_obs, self.num_critic_obs = observer.size("policy"), observer.size("critic")
        self.obs_scale = observer.scales["policy"]
        self.obs_mirror, self.critic_mirror = observer.mirrors["policy"], observer.mirrors["critic"]
        index, sign = mirror_joints(self.cfg.robot, self.joint_names)
        self.action_mirror = index.to(self.device), sign.to(self.device)
        limit = self.cfg.control.clip_actions
        self.single_action_space = gym.spaces.Box(-limit, limit, (self.num_actions,), np.float32)
        self.single_observation_space = observer.space
        self.action_space = gym.vector.utils.batch_space(self.single_action_space, self.num_envs)
        self.observation_space = gym.vector.utils.batch_space(self.single_observation_space, self.num_envs)

    def _uniform(self, bounds: tuple[float, float], *shape: int) -> Tensor:
        """Random numbers [N, *shape], uniform in `bounds`."""
        sample = torch.rand(self.num_envs, *shape, generator=self.generator, device=self.device)
        return sample.mul_(bounds[1] - bounds[0]).add_(bounds[0])

    def _draw_robots(self) -> None:
        """Draw the robots' first levels and the differences between them."""
        if self.course:
            self.course.draw_levels(self._uniform((0.0, 1.0)))
        self.randomisation.draw(self.engine, self._all, self._uniform)

    # ------------------------------------------------------------------ gymnasium interface

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Start a new episode for every robot; returns observations and info.

        Args:
            seed: restart the random generator from this seed, forget what the curriculum learned and draw the
                differences between robots anew, so that all that follows is that of a new environment of this seed.
            options: unused.
        """
        if seed is not None:
            self.generator.manual_seed(seed)
            self._buffers.load_state_dict(self._initial)
            self._draw_robots()
        self._reset_robots(self._all)
        if self.cfg.init.random_first_episode:
            self.episode_length.copy_(self._uniform((0.0, float(self.max_episode_length))).long())
        self.pushes.start(self.engine)
        self.commands.draw(self._all, self._uniform)
        self._refresh_base()
        self.perception.draw_holes(self.generator)
        self.perception.look(self.engine, self._all, new=True)
        self.observer.draw_noise(self.generator)
        self.observer.observe(self._obs)
        return self.get_observations(), {}

    def step(self, actions: Tensor) -> tuple[dict[str, Tensor], Tensor, Tensor, Tensor, dict[str, Any]]:
        """Advance every robot by one policy step.

        Args:
            actions: [N, A]; joint target = nominal angle + action_scale x action (see envs/actuators.py).

        Returns:
            observations; rewards [N]; terminated, bool [N]; truncated, bool [N]; info with `final_obs` and
            `log`: name -> 0-d tensor: `Train/...` averages over all robots, `Episode/...` over those whose
            episodes ended in this step (`Episode/finished` is their number).
        """
        state, observer = self.state, self.observer
        state.previous_action.copy_(state.action)
        limit = self.cfg.control.clip_actions
        state.action.copy_(actions.detach()).clamp_(-limit, limit)
        state.previous_joint_vel.copy_(self.engine.joint_vel)
        target = self.cfg.control.action_scale * state.action
        if "encoder_offset" in self.randomisation.differing and self.actuator.takes_angles:
            target -= state.encoder_offset
        self.actuator.step(self.engine, target)
        self.episode_length += 1

        state.refresh(self.engine)
        self.commands.follow_heading(self.engine.base_quat)
        self.perception.draw_holes(self.generator)
        self.perception.look(self.engine, self._all)
        fatal = state.contact_force[:, state.fatal].square().sum(-1)
        torch.any(fatal > self.cfg.fatal_contact_force**2, dim=1, out=state.terminated)

        rewards, terms = self._rewards()
        observer.draw_noise(self.generator)
        observer.observe(self._final_obs)
        # Physics that stopped being finite, or plausible, ends the episode; nothing of it reaches the learner.
        sums = sum((self._final_obs[group].sum(1) for group in observer.groups), start=rewards)
        bad = self.engine.bad | ~torch.isfinite(sums) | (state.base_lin_vel.square().sum(1) > RUNAWAY**2)
        rewards = torch.where(bad, 0.0, rewards)
        self.episode_sums.add_(torch.where(bad.unsqueeze(1), 0.0, terms))
        for group in observer.groups:
            self._final_obs[group].masked_fill_(bad.unsqueeze(1), 0.0)

        terminated = state.terminated | bad
        truncated = (self.episode_length >= self.max_episode_length) & ~terminated
        if self.course:
            self.course.track(state)
            left = self.course.has_left(state.base_pos) & ~terminated
            truncated |= left
        done = terminated | truncated
        log = self._log(done, terminated, bad)
        if self.course:
            succeeded = self.course.finish(done, terminated, left, state, self._uniform((0.0, 1.0)))
            log |= self.course.log(done, succeeded, left)
        if self.commands.curriculum:
            index = list(self.reward_terms).index("tracking_lin_vel")
            best = self.reward_terms["tracking_lin_vel"].weight * self.cfg.episode_length
            self.commands.curriculum.update(self.episode_sums[:, index] / best, done)
            log["Curriculum/max_lin_vel_x"] = self.commands.curriculum.range[1].clone()

        state.feet_air_time.mul_(~state.foot_contact)
        self._reset_robots(done)
        # a robot just reset, whose episode has no steps yet, is due for a command too
        self.commands.draw(self.episode_length % self.commands.period == 0, self._uniform)
        self.pushes.step(self.engine)
        self._refresh_base()
        self.perception.look(self.engine, done, new=True)
        observer.observe(self._obs)
        info = {"final_obs": dict(self._final_obs), "log": log}
        return self.get_observations(), rewards, terminated, truncated, info

    def set_commands(self, command: Tensor) -> dict[str, Tensor]:
        """Command all robots ([N, 3]: m/s, m/s, rad/s) until their next resampling; returns observations."""
        self.command.copy_(command)
        self.observer.observe(self._obs)
        return self.get_observations()

    def close_extras(self, **kwargs: Any) -> None:
        """Nothing to release beyond Python's own references."""

    # ------------------------------------------------------------------ parts of a step

    def _refresh_base(self) -> None:
        """What a reset or a push changes."""
        self.state.refresh_base(self.engine)
        self.commands.follow_heading(self.engine.base_quat)

    def _rewards(self) -> tuple[Tensor, Tensor]:
        """Total [N] and weighted terms [N, R] of this step."""
        columns, after_clip = [], torch.zeros(self.num_envs, device=self.device)
        for name, term in self.reward_terms.items():
            column = term.func(self.state, **term.params) * (term.weight * self.step_dt)
            if name == "termination":
                after_clip = column
            columns.append(column)
        terms = torch.stack(columns, dim=1) if columns else self.episode_sums.clone()
        total = terms.sum(1) - after_clip
        if self.cfg.only_positive_rewards:
            total = total.clamp(min=0.0)
        return total + after_clip, terms

    def _log(self, done: Tensor, terminated: Tensor, bad: Tensor) -> dict[str, Tensor]:
        count = done.float().sum()
        share = done / count.clamp(min=1.0)
        sums = (share @ self.episode_sums) / self.cfg.episode_length
        log = {f"Episode/rew_{name}": sums[i] for i, name in enumerate(self.reward_terms)}
        state = self.state
        log["Train/lin_vel_error"] = torch.where(bad, 0.0, lin_vel_error(state)).mean()
        log["Train/ang_vel_error"] = torch.where(bad, 0.0, ang_vel_error(state)).mean()
        log["Episode/fall_rate"] = share @ terminated.float()
        log["Episode/length"] = share @ self.episode_length.float()
        log["Episode/non_finite"] = bad.float().sum()
        log["Episode/finished"] = count
        for name in self.randomisation.differing:
            log[f"Randomisation/{name}"] = self.randomised[name].mean()
        return log

    def _reset_robots(self, mask: Tensor) -> None:
        """Put the robots in `mask` back to a random start and clear their memory."""
        if self.cfg.randomisation.redraw == "reset":
            self.randomisation.draw(self.engine, mask, self._uniform)
        cfg, state = self.cfg.init, self.state
        joint_pos = state.default_joint_pos * self._uniform(cfg.joint_scale, self.num_actions)
        joint_pos.clamp_(*state.joint_pos_limits.unbind(1))
        base_pos = torch.full((self.num_envs, 3), self.cfg.robot.init_height, device=self.device)
        base_pos[:, :2] = self._uniform((-cfg.base_position, cfg.base_position), 2)
        if self.course:
            base_pos += self.course.origins()
            self.course.begin(mask)
        base_quat = torch.zeros(self.num_envs, 4, device=self.device)
        base_quat[:, 0] = 1.0
        if cfg.yaw:
            half = 0.5 * self._uniform((-cfg.yaw, cfg.yaw))
            base_quat[:, 0], base_quat[:, 3] = half.cos(), half.sin()
        linear, angular = self._uniform((-cfg.base_velocity, cfg.base_velocity), 6).split(3, dim=1)
        at_rest = torch.zeros_like(joint_pos)
        self.engine.write_state(mask, base_pos, base_quat, linear, angular, joint_pos, at_rest)
        self.actuator.reset(mask)
        self.pushes.end(mask)
        state.clear(mask)
        self.episode_sums.masked_fill_(mask.unsqueeze(1), 0.0)
        self.episode_length.masked_fill_(mask, 0)

    # ------------------------------------------------------------------ exact continuation

    def state_dict(self) -> dict[str, Any]:
        """Copies of every mutable tensor, the random generator's and the engine's state."""
        return {
            "buffers": self._buffers.state_dict(),
            "generator": self.generator.get_state(),
            "engine": self.engine.state_dict(),
            "obs": self._obs["policy"].clone(),
            "critic_obs": self._obs["critic"].clone(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue exactly where `state_dict` was taken; ValueError where shapes do not fit."""
        self._buffers.load_state_dict(state["buffers"])
        self.generator.set_state(state["generator"].cpu())
        self.engine.load_state_dict(state["engine"])
        self._obs["policy"].copy_(state["obs"])
        self._obs["critic"].copy_(state.get("critic_obs", state["obs"]))
        self._refresh_base()
        self.perception.recall(self.engine)

    def get_observations(self) -> dict[str, Tensor]:
        """The observations last returned by `reset` or `step`."""
        return dict(self._obs)
