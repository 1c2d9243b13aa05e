"""N legged robots that follow velocity commands: one batched gymnasium environment on torch tensors."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from torch import Tensor

from envs.buffers import Buffers
from envs.commands import Commands
from envs.config import EnvConfig
from envs.course import Course
from envs.draws import Draws, Uniform, one_seed
from envs.drives.actuators import Actuator, actuation
from envs.observer import Observer, copied
from envs.perception import Perception
from envs.pushes import Pushes
from envs.randomisation import Randomisation
from envs.rewards import ang_vel_error, lin_vel_error
from envs.starts import Footing, Start, draw_starts
from envs.state import make_state
from envs.step_log import Figures, StepLog
from envs.terms import Terms
from native.launch import fused, prepare
from physics import BatchedEngine, make_engine
from terrains.curriculum import CommandCurriculum, Curriculum
from terrains.grid import Terrain, make_terrain
from terrains.ground import Ground, HeightField, Plane

RUNAWAY = 20.0
"""No robot is that fast, m/s: one that was squeezed out of the ground is, once in many millions of steps."""


class LeggedEnv(gym.vector.VectorEnv):
    """Vector environment whose arrays are float32 tensors on `device`.

    `step` resets finished robots in the same step (`AutoresetMode.SAME_STEP`): the returned observation is
    the new episode's, `info["final_obs"]` holds the last one of the old (for robots that go on, it is the
    returned one but for a push and a new command). Observations are dicts: `policy` [N, O] and `critic`
    [N, C], the same tensor unless `EnvConfig.own_critic`. Returned observations are reused by the next step
    unless the environment is `lasting`, as gymnasium.make_vec makes it. Every mutable tensor is in `state_dict()`.
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
        lasting: bool = False,
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
            lasting: observations are copies, which the next step leaves alone.

        Raises:
            ValueError: a value out of range, or an engine that does not fit.
        """
        cfg.validate()
        if num_envs < 1:
            raise ValueError(f"num_envs must be at least 1, not {num_envs}")
        if ground is None:
            terrain = terrain or make_terrain(cfg.terrain)
            ground = terrain.ground if terrain else Plane()
        self.cfg, self.ground, self.lasting, self.num_envs = cfg, ground, lasting, num_envs
        self.autoreset_mode = AutoresetMode.SAME_STEP
        self.device = torch.device(device)
        prepare(self.device)
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
        spread = cfg.init.base_position
        self.course = (
            Course(cfg.curriculum, terrain, cfg.episode_length, buffers, spread) if terrain else None
        )
        """Where robots are on the map, None without one."""
        self.perception = Perception(cfg.scan, ground, self.engine, self.step_dt, num_threads, buffers)
        self.footing: Footing | None = None
        if isinstance(ground, HeightField):
            self.footing = Footing(cfg.robot.init_height, ground, self.engine, num_threads)
        self.commands = Commands(cfg.commands, self.step_dt, self.max_episode_length, buffers)
        self.pushes = Pushes(cfg.randomisation, self.step_dt, buffers)
        self.actuator = Actuator(cfg, self.engine, buffers)
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
        self.episode_length, self.first_age = self.state.episode_length, self.state.first_age
        self.terms = Terms(cfg, self.state, buffers)
        self.reward_terms = self.terms.rewards
        self.episode_sums = buffers.make("episode_sums", len(self.reward_terms))
        start = self.num_actions + 2 + bool(cfg.init.yaw) + 6 + bool(cfg.init.nominal_share)
        parts = (self.randomisation, self.commands, self.pushes, self.actuator, self.terms)
        columns = start + (1 if self.course else 0) + sum(part.draws for part in parts)
        self._draws = Draws(num_envs, columns, self.generator)
        self._make_spaces()
        self._log_names: list[str] = []
        self._initial = buffers.state_dict()
        self._draw_robots()

    def _make_spaces(self) -> None:
        """Layouts of actions and observations."""
        self.observer = observer = Observer(self.cfg, self.terms.observations, self.state, self.joint_names)
        self._obs, self._final_obs = observer.empty(), observer.empty()
        self.obs_layout, self.critic_obs_layout = observer.layouts["policy"], observer.layouts["critic"]
        """Observation term -> number of columns, in order."""
        self.num_obs, self.num_critic_obs = observer.size("policy"), observer.size("critic")
        self.obs_scale = observer.scales["policy"]
        limit = self.cfg.control.clip_actions
        self.single_action_space = gym.spaces.Box(-limit, limit, (self.num_actions,), np.float32)
        self.single_observation_space = observer.space
        self.action_space = gym.vector.utils.batch_space(self.single_action_space, self.num_envs)
        self.observation_space = gym.vector.utils.batch_space(self.single_observation_space, self.num_envs)

    # index and sign of policy's and critic's observation and of the action in the mirror: only symmetry asks for them
    obs_mirror = cached_property(lambda self: self.observer.mirror("policy"))
    critic_mirror = cached_property(lambda self: self.observer.mirror("critic"))
    action_mirror = cached_property(lambda self: self.observer.mirror("action"))

    def _draw_robots(self) -> None:
        """Draw the robots' first levels and the differences between them."""
        if self.course:
            self.course.draw_levels(self._draws.uniform((0.0, 1.0)))
        self.randomisation.draw(self.engine, self._all, self._draws.uniform)

    # ------------------------------------------------------------------ gymnasium interface

    @torch.no_grad()
    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Start a new episode for every robot; returns observations and info.

        Args:
            seed: restart the random generator from this seed, forget what the curriculum learned and draw the
                differences between robots anew, so that all that follows is that of a new environment of this seed.
                Of a list, which other vector environments take, one seed is made.
            options: unused.
        """
        seed = one_seed(seed)
        if seed is not None:
            self.generator.manual_seed(seed)
            self._buffers.load_state_dict(self._initial)
            self._draw_robots()
        self._reset_robots(self._all)
        if self.cfg.init.random_first_episode:
            first = self._draws.uniform((0.0, float(self.max_episode_length)))
            self.episode_length.copy_(first.long())
            self.first_age.copy_(self.episode_length)
        self.pushes.start(self.engine, self._draws.uniform)
        self.commands.draw(self._all, self._draws.uniform)
        self.perception.draw_holes(self.generator)
        self.observer.draw_noise(self.generator)
        self._look_around(self._all)
        return self.get_observations(), {}

    @torch.no_grad()
    def step(
        self, actions: Tensor | np.ndarray
    ) -> tuple[dict[str, Tensor], Tensor, Tensor, Tensor, dict[str, Any]]:
        """Advance every robot by one policy step.

        Args:
            actions: [N, A], a tensor or an array, for the drives (envs/drives/actuators.py).

        Returns:
            observations; rewards [N]; terminated, bool [N]; truncated, bool [N]; info with `final_obs` and
            `log`: name -> 0-d tensor: `Train/...` averages over all robots, `Episode/...` over those whose
            episodes ended in this step (`Episode/finished` is their number); `_final_obs`, bool [N], says whose
            `final_obs` it is, and gymnasium's `final_info` is empty.
        """
        if not isinstance(actions, Tensor):
            actions = torch.as_tensor(np.asarray(actions, np.float32), device=self.device)
        self.actuator.step(self.engine, self._aim(actions))
        self._draws.renew()
        self.perception.draw_holes(self.generator)
        self.observer.draw_noise(self.generator)
        rewards, terminated, truncated, done, start, pushed, force, log = self._judge()
        if self.cfg.randomisation.redraw == "reset":
            self.randomisation.draw(self.engine, done, self._draws.shares(-self.randomisation.draws))
        self.engine.write_state(done, *start, pushed)
        if force is not None:
            self.engine.base_wrench[:, :2] = force
        self._look_around(done)
        info: dict[str, Any] = {"_final_obs": done, "final_info": {}, "_final_info": done}
        figures = Figures(self._log_names, log)  # gymnasium's converters rebuild plain dictionaries only
        info["log"] = dict(figures) if self.lasting else figures
        info["final_obs"] = copied(self._final_obs, self.lasting)
        return self.get_observations(), rewards, terminated, truncated, info

    def set_commands(self, command: Tensor) -> dict[str, Tensor]:
        """Command all robots ([N, 3]: m/s, m/s, rad/s) until their next resampling; returns observations.

        Where `commands.heading` is on, the yaw rate follows `heading_target` from the next step on.
        """
        self.command.copy_(command)
        self.observer.observe(self._obs)
        return self.get_observations()

    def compile(self, backend: str = "inductor") -> None:
        """From now on let torch.compile make few kernels of what a step does around the physics.

        Args:
            backend: of torch.compile.
        """
        for name in ("_aim", "_judge", "_look_around"):
            setattr(self, name, fused(getattr(self, name), backend))
        if isinstance(self.engine, BatchedEngine):
            self.engine.compile(backend)

    # ------------------------------------------------------------------ parts of a step, tensors in, tensors out

    def _aim(self, actions: Tensor) -> Tensor:
        """Take note of the actions; returns them scaled, [N, A]."""
        state = self.state
        state.previous_action.copy_(state.action)
        limit = self.cfg.control.clip_actions
        state.action.copy_(actions.detach().clamp(-limit, limit))
        state.previous_joint_vel.copy_(self.engine.joint_vel)
        target = self.cfg.control.action_scale * state.action
        if "encoder_offset" in self.randomisation.differing and self.actuator.takes_angles:
            target = target - state.encoder_offset
        return target

    def _judge(
        self,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Start, Tensor | None, Tensor | None, Tensor]:
        """All that follows from the physics of a step; the engine itself is only looked at.

        Returns:
            rewards [N]; terminated, truncated and either, bool [N]; the states that robots begin new episodes in, and
            whom to push, bool [N] or None, as `Engine.write_state` takes them; the forces that act on the bases, N,
            [N, 2], or None; figures of `_log_names`, [K].
        """
        state, observer, uniform = self.state, self.observer, self._draws.shares()
        self.episode_length += 1
        state.refresh(self.engine)
        if self.cfg.commands.judge_next_heading:
            self.commands.follow_heading(self.engine.base_quat)
        self.perception.look(self.engine, self._all)
        fatal = state.contact_force[:, state.fatal].square().sum(-1)
        state.terminated.copy_((fatal > self.cfg.fatal_contact_force**2).any(1))

        self.terms.update()
        rewards, terms = self.terms.reward()
        errors = lin_vel_error(state), ang_vel_error(state)
        if self.course:
            self.course.track(state)
        if not self.cfg.commands.judge_next_heading:
            self.commands.follow_heading(self.engine.base_quat)
        # Physics that stopped being finite, or plausible, ends the episode; nothing of it reaches the learner.
        sums = observer.observe(self._final_obs) + rewards
        bad = self.engine.bad | ~torch.isfinite(sums) | (state.base_lin_vel.square().sum(1) > RUNAWAY**2)
        rewards = torch.where(bad, 0.0, rewards)
        self.episode_sums.add_(torch.where(bad.unsqueeze(1), 0.0, terms))
        for group in observer.groups:
            self._final_obs[group].masked_fill_(bad.unsqueeze(1), 0.0)

        terminated = state.terminated | bad
        truncated = (self.episode_length >= self.max_episode_length) & ~terminated
        left = None
        if self.course:
            left = self.course.has_left(state.base_pos) & ~terminated
            truncated = truncated | left
        done = terminated | truncated
        log = self._log(done, terminated, bad, errors)
        if self.course and left is not None:
            succeeded = self.course.finish(done, terminated, left, state, uniform((0.0, 1.0)))
            self.course.log(log, succeeded, left)
        if self.commands.curriculum:
            index = list(self.reward_terms).index("tracking_lin_vel")
            best = self.reward_terms["tracking_lin_vel"].weight * self.cfg.episode_length
            self.commands.curriculum.update(self.episode_sums[:, index] / best, done)
            log.scalar("Curriculum/max_lin_vel_x", self.commands.curriculum.range[1])
        self._log_names = log.names()

        state.feet_air_time.mul_(~state.foot_contact)
        start = self._begin(done, uniform)
        # a robot just reset, whose episode has no steps yet, is due for a command too
        self.commands.draw(self.episode_length % self.commands.period == 0, uniform)
        pushed = force = None
        if self.pushes.with_velocity:
            pos, quat, linear, angular, joint_pos, joint_vel = start
            new = done.unsqueeze(1)
            linear = torch.where(new, linear, self.engine.base_lin_vel)
            angular = torch.where(new, angular, self.engine.base_ang_vel)
            pushed, linear, angular = self.pushes.velocities(linear, angular, uniform)
            start = pos, quat, linear, angular, joint_pos, joint_vel
        if self.pushes.with_force:
            force = self.pushes.forces(uniform)
        return rewards, terminated, truncated, done, start, pushed, force, log.values()

    def _look_around(self, new: Tensor) -> None:
        """Observe what resets and pushes made of the robots; the episodes of those in `new` (bool, [N]) begin."""
        if self.footing:
            self.footing.set_down(self.engine, new)
        self._refresh_base()
        self.perception.look(self.engine, new, new=True)
        self.observer.observe(self._obs)

    def _refresh_base(self) -> None:
        """What a reset or a push changes."""
        self.state.refresh_base(self.engine)
        self.commands.follow_heading(self.engine.base_quat)

    def _log(self, done: Tensor, terminated: Tensor, bad: Tensor, errors: tuple[Tensor, Tensor]) -> StepLog:
        log = StepLog(done)
        for i, name in enumerate(self.reward_terms):
            log.episodes(f"Episode/rew_{name}", self.episode_sums[:, i] / self.cfg.episode_length)
        log.robots("Train/lin_vel_error", torch.where(bad, 0.0, errors[0]))
        log.robots("Train/ang_vel_error", torch.where(bad, 0.0, errors[1]))
        log.episodes("Episode/fall_rate", terminated.float())
        log.episodes("Episode/length", (self.episode_length - self.first_age).float())
        log.count("Episode/non_finite", bad)
        log.count("Episode/finished", done)
        for name in self.randomisation.differing:
            value = self.randomised[name]
            log.robots(f"Randomisation/{name}", value if value.ndim == 1 else value.mean(1))
        return log

    def _begin(self, mask: Tensor, uniform: Uniform) -> Start:
        """Clear the memory of robots in `mask`; returns the states that they begin in, see `Engine.write_state`."""
        origins = self.course.origins() if self.course else None
        start = draw_starts(self.cfg.init, self.cfg.robot.init_height, origins, self.state, uniform)
        if self.course:
            self.course.begin(mask)
        self.actuator.reset(mask, uniform)
        self.pushes.end(mask)
        self.terms.begin(mask, uniform)
        self.state.clear(mask)
        self.episode_sums.masked_fill_(mask.unsqueeze(1), 0.0)
        self.episode_length.masked_fill_(mask, 0)
        self.first_age.masked_fill_(mask, 0)
        return start

    def _reset_robots(self, mask: Tensor) -> None:
        """Put the robots in `mask` back to a random start and clear their memory."""
        if self.cfg.randomisation.redraw == "reset":
            self.randomisation.draw(self.engine, mask, self._draws.uniform)
        self.engine.write_state(mask, *self._begin(mask, self._draws.uniform))

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

    def carry_over(self, state: dict[str, Any], seed: int) -> None:
        """Begin anew with what the curricula of a saved environment learned, whatever its number of robots was.

        Args:
            state: its `state_dict`.
            seed: of everything random.
        """
        self.reset(seed=seed)
        saved = state["buffers"]
        for name, buffer in self._buffers.items():
            if name.startswith(("curriculum_", "command_curriculum_")):
                buffer.copy_(saved[name])
        if self.course:  # robots of all environments are spread over the columns in the same way
            level = saved["terrain_level"]
            like = torch.arange(self.num_envs, device=self.device) * len(level) // self.num_envs
            self.course.assign(level.to(self.device)[like], self.course.column)
        self.reset()

    # ------------------------------------------------------------------ several processes

    def pool_counts(self, processes: int) -> list[Tensor]:
        """Let the curricula learn from the robots of several processes, see `Curriculum.pool_counts`."""
        return [counts for curriculum in self._curricula() for counts in curriculum.pool_counts(processes)]

    def learn_from_counts(self) -> None:
        """Let the curricula learn from counts that were summed over the processes."""
        for curriculum in self._curricula():
            curriculum.learn_from_counts()

    def _curricula(self) -> list[Curriculum | CommandCurriculum]:
        found = (self.course and self.course.curriculum, self.commands.curriculum)
        return [curriculum for curriculum in found if curriculum]

    def get_observations(self) -> dict[str, Tensor]:
        """The observations last returned by `reset` or `step`."""
        return copied(self._obs, self.lasting)
