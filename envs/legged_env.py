"""N legged robots that follow velocity commands: one batched gymnasium environment on torch tensors."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from torch import Tensor

from envs.actuators import Actuator, actuation
from envs.commands import Commands
from envs.config import EnvConfig
from envs.course import Course
from envs.perception import Perception
from envs.pushes import Pushes
from envs.randomisation import RANDOMISED, differing, give_constants, randomise
from envs.rewards import ang_vel_error, lin_vel_error
from envs.state import RobotState, gravity_in_base, rotate_inverse
from envs.symmetry import mirror_joints, mirror_observation
from physics import make_engine
from robots.config import match, matching
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
        self.ground = ground
        self.cfg = cfg
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

        self._buffers: dict[str, Tensor] = {}
        self._make_constants()
        self._make_buffers()
        self.course = self._make_course(terrain) if terrain else None
        """Where robots are on the map, None without one."""
        self.perception = Perception(cfg.scan, ground, self.engine, self.step_dt, num_threads, self._buffer)
        self.commands = Commands(
            cfg.commands, self.step_dt, self.max_episode_length, self._buffer, self._buffers
        )
        self.command, self.heading_target = self.commands.command, self.commands.heading_target
        self.pushes = Pushes(cfg.randomisation, self.step_dt, self._buffer, self._uniform)
        self.actuator = Actuator(cfg, self.engine, self._buffers, self._uniform)
        self.state = self._make_state()
        self.reward_terms = {name: term for name, term in cfg.rewards.items() if term.weight != 0.0}
        self.episode_sums = self._buffer("episode_sums", len(self.reward_terms))
        self._make_spaces()
        self._differing = differing(cfg.randomisation)
        give_constants(cfg.randomisation, self.engine, self.randomised)
        self._randomise_robots(self._all)

    # ------------------------------------------------------------------ construction

    def _buffer(self, name: str, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """A zero tensor [N, *shape] that is part of the environment's state."""
        self._buffers[name] = torch.zeros(self.num_envs, *shape, dtype=dtype, device=self.device)
        return self._buffers[name]

    def _make_constants(self) -> None:
        robot, names, groups = self.cfg.robot, self.joint_names, list(self.engine.contact_groups)

        def per_joint(patterns: dict[str, float]) -> Tensor:
            return torch.tensor([match(patterns, name) for name in names], device=self.device)

        def indices(group_names: list[str]) -> Tensor:
            chosen = [groups.index(name) for name in group_names]
            return torch.tensor(chosen, dtype=torch.int64, device=self.device)

        self.default_joint_pos = per_joint(robot.default_joint_pos)
        self.effort_limits = per_joint(robot.effort_limit)
        self.joint_vel_limits = per_joint(robot.velocity_limit)
        self.joint_pos_limits = self.engine.joint_pos_limits
        self._feet = indices([matching((foot,), groups)[0] for foot in robot.feet])
        self._penalised = indices(matching(robot.penalised_contacts, groups))
        self._fatal = indices(matching(robot.fatal_contacts, groups))
        index, sign = mirror_joints(robot, names)
        self.action_mirror = index.to(self.device), sign.to(self.device)
        self.obs_mirror, self.critic_mirror = (self._observation_mirror(g) for g in ("policy", "critic"))

    def _observation_mirror(self, group: str) -> tuple[Tensor, Tensor]:
        kinds = [term.mirror for term in self.cfg.terms_of(group).values()]
        index, sign = mirror_observation(kinds, self.cfg.robot, self.joint_names, self.cfg.scan.shape)
        return index.to(self.device), sign.to(self.device)

    def _make_buffers(self) -> None:
        joints, feet = self.num_actions, len(self._feet)
        self.action = self._buffer("action", joints)
        self.previous_action = self._buffer("previous_action", joints)
        self.previous_joint_vel = self._buffer("previous_joint_vel", joints)
        self.feet_air_time = self._buffer("feet_air_time", feet)
        self.feet_down = self._buffer("feet_down", feet, dtype=torch.bool)
        self.episode_length = self._buffer("episode_length", dtype=torch.int64)
        columns: dict[str, tuple[int, ...]] = {"robot": (), "side": (2,), "axis": (3,), "joint": (joints,)}
        self.randomised = {
            name: self._buffer(name, *columns[entry.per]) for name, entry in RANDOMISED.items()
        }
        """Each robot's value of every entry of `RANDOMISED`, [N] or [N, k]; the neutral one where it is off."""

    def _make_course(self, terrain: Terrain) -> Course:
        course = Course(
            self.cfg.curriculum, terrain, self.num_envs, self.cfg.episode_length, self._buffer, self.device
        )
        course.draw_levels(self._uniform((0.0, 1.0)))
        self._buffers |= {f"curriculum_{k}": tensor for k, tensor in course.curriculum.buffers.items()}
        return course

    def _make_state(self) -> RobotState:
        engine, zeros = self.engine, torch.zeros_like
        return RobotState(
            step_dt=self.step_dt,
            default_joint_pos=self.default_joint_pos,
            joint_pos_limits=self.joint_pos_limits,
            joint_vel_limits=self.joint_vel_limits,
            effort_limits=self.effort_limits,
            feet=self._feet,
            penalised=self._penalised,
            base_pos=engine.base_pos,
            base_quat=engine.base_quat,
            height_scan=self.perception.height_scan,
            ground_height=self.perception.ground_height,
            base_lin_vel=zeros(engine.base_lin_vel),
            base_ang_vel=engine.base_ang_vel,
            projected_gravity=zeros(engine.base_pos),
            joint_pos=engine.joint_pos,
            encoder_offset=self.randomised["encoder_offset"],
            joint_vel=engine.joint_vel,
            joint_acc=zeros(engine.joint_vel),
            joint_torque=engine.joint_torque,
            contact_force=engine.contact_force,
            foot_pos=engine.foot_pos,
            foot_vel=engine.foot_vel,
            foot_contact=zeros(self.feet_down),
            first_contact=zeros(self.feet_down),
            feet_air_time=self.feet_air_time,
            command=self.command,
            action=self.action,
            previous_action=self.previous_action,
            friction=self.randomised["friction"],
            added_base_mass=self.randomised["added_base_mass"],
            terminated=zeros(self._all),
        )

    def _make_spaces(self) -> None:
        with torch.no_grad():
            widths = {name: term.func(self.state).shape[1] for name, term in self.cfg.observations.items()}
        self._groups = ("policy", "critic") if self.cfg.own_critic else ("policy",)
        layouts = {g: {name: widths[name] for name in self.cfg.terms_of(g)} for g in ("policy", "critic")}
        self.obs_layout = layouts["policy"]
        """Observation term -> number of columns, in order."""
        self.critic_obs_layout = layouts["critic"]
        """The same of the critic's observation."""
        self.num_obs, self.num_critic_obs = (sum(layout.values()) for layout in layouts.values())
        self._obs_scales = {group: self._obs_scale(layouts[group]) for group in self._groups}
        self.obs_scale = self._obs_scales["policy"]
        noise = [torch.full((w,), self.cfg.observations[name].noise) for name, w in self.obs_layout.items()]
        self._obs_noise = torch.cat(noise).to(self.device) * self.obs_scale * self.cfg.noise.level
        self._obs, self._final_obs = self._zero_obs(), self._zero_obs()
        self._noise = torch.zeros_like(self._obs["policy"])
        limit, clip = self.cfg.control.clip_actions, self.cfg.clip_observations
        self.single_action_space = gym.spaces.Box(-limit, limit, (self.num_actions,), np.float32)
        self.single_observation_space = gym.spaces.Dict(
            {name: gym.spaces.Box(-clip, clip, obs.shape[1:], np.float32) for name, obs in self._obs.items()}
        )
        self.action_space = gym.vector.utils.batch_space(self.single_action_space, self.num_envs)
        self.observation_space = gym.vector.utils.batch_space(self.single_observation_space, self.num_envs)

    def _obs_scale(self, layout: dict[str, int]) -> Tensor:
        """Factor of each column; ValueError where a term has a wrong number of them."""
        scales: list[float] = []
        for name, width in layout.items():
            scale = self.cfg.observations[name].scale
            if len(scale) not in (1, width):
                raise ValueError(f"env.observations.{name}.scale needs 1 or {width} values, not {scale}")
            scales += scale * (width if len(scale) == 1 else 1)
        return torch.tensor(scales, device=self.device)

    def _zero_obs(self) -> dict[str, Tensor]:
        obs = torch.zeros(self.num_envs, self.num_obs, device=self.device)
        own = self.cfg.own_critic
        critic = torch.zeros(self.num_envs, self.num_critic_obs, device=self.device) if own else obs
        return {"policy": obs, "critic": critic}

    def _randomise_robots(self, mask: Tensor) -> None:
        """Draw the differences of the robots in `mask` from the others."""
        randomise(self._differing, self.cfg.randomisation, self.engine, self.randomised, mask, self._uniform)

    def _uniform(self, bounds: tuple[float, float], *shape: int) -> Tensor:
        """Random numbers [N, *shape], uniform in `bounds`."""
        sample = torch.rand(self.num_envs, *shape, generator=self.generator, device=self.device)
        return sample.mul_(bounds[1] - bounds[0]).add_(bounds[0])

    # ------------------------------------------------------------------ gymnasium interface

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Start a new episode for every robot; returns observations and info.

        Args:
            seed: restart the random generator from this seed and draw the differences between robots anew,
                so that all that follows is that of a new environment of this seed.
            options: unused.
        """
        if seed is not None:
            self.generator.manual_seed(seed)
            if self.course:
                self.course.draw_levels(self._uniform((0.0, 1.0)))
            self._randomise_robots(self._all)
        self._reset_robots(self._all)
        if self.cfg.init.random_first_episode:
            start = self._uniform((0.0, float(self.max_episode_length)))
            self.episode_length.copy_(start.long())
        self.pushes.start(self.engine)
        self.commands.draw(self._all, self._uniform)
        self._refresh_reset()
        self.perception.draw_holes(self.generator)
        self._look(self._all, new=True)
        self._noise.uniform_(-1.0, 1.0, generator=self.generator)
        self._observe(self._obs)
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
        self.previous_action.copy_(self.action)
        limit = self.cfg.control.clip_actions
        self.action.copy_(actions.detach()).clamp_(-limit, limit)
        self.previous_joint_vel.copy_(self.engine.joint_vel)
        target = self.cfg.control.action_scale * self.action
        if "encoder_offset" in self._differing and self.actuator.takes_angles:
            target -= self.randomised["encoder_offset"]
        self.actuator.step(self.engine, target)
        self.episode_length += 1

        self._refresh_state()
        state = self.state
        state.joint_acc.copy_((state.joint_vel - self.previous_joint_vel) / self.step_dt)
        fatal = state.contact_force[:, self._fatal].square().sum(-1)
        torch.any(fatal > self.cfg.fatal_contact_force**2, dim=1, out=state.terminated)

        rewards, terms = self._rewards()
        self._noise.uniform_(-1.0, 1.0, generator=self.generator)
        self._observe(self._final_obs)
        # Physics that stopped being finite, or plausible, ends the episode; nothing of it reaches the learner.
        sums = sum((self._final_obs[group].sum(1) for group in self._groups), start=rewards)
        bad = self.engine.bad | ~torch.isfinite(sums) | (state.base_lin_vel.square().sum(1) > RUNAWAY**2)
        rewards = torch.where(bad, 0.0, rewards)
        for group in self._groups:
            self._final_obs[group].masked_fill_(bad.unsqueeze(1), 0.0)
        terminated = state.terminated | bad
        truncated = (self.episode_length >= self.max_episode_length) & ~terminated
        if self.course:
            self.course.track(state)
            left = self.course.has_left(state.base_pos) & ~terminated
            truncated |= left
        done = terminated | truncated
        self.episode_sums.add_(torch.where(bad.unsqueeze(1), 0.0, terms))
        log = self._log(done, terminated, bad)
        if self.course:
            succeeded = self.course.finish(done, terminated, left, state, self._uniform((0.0, 1.0)))
            share = done.float() / done.sum().clamp(min=1)
            log |= {"Episode/success": share @ succeeded.float(), "Episode/left_map": share @ left.float()}
            log |= self.course.log()

        if self.commands.curriculum:
            index = list(self.reward_terms).index("tracking_lin_vel")
            best = self.reward_terms["tracking_lin_vel"].weight * self.cfg.episode_length
            self.commands.curriculum.update(self.episode_sums[:, index] / best, done)
            log["Curriculum/max_lin_vel_x"] = self.commands.curriculum.range[1].clone()

        self.feet_air_time.mul_(~state.foot_contact)
        self._reset_robots(done)
        # a robot just reset, whose episode has no steps yet, is due for a command too
        self.commands.draw(self.episode_length % self.commands.period == 0, self._uniform)
        self.pushes.step(self.engine)
        self._refresh_reset()
        self._look(done, new=True)
        self._observe(self._obs)
        info = {"final_obs": dict(self._final_obs), "log": log}
        return self.get_observations(), rewards, terminated, truncated, info

    def set_commands(self, command: Tensor) -> dict[str, Tensor]:
        """Command all robots ([N, 3]: m/s, m/s, rad/s) until their next resampling; returns observations."""
        self.command.copy_(command)
        self._observe(self._obs)
        return self.get_observations()

    def close_extras(self, **kwargs: Any) -> None:
        """Nothing to release beyond Python's own references."""

    # ------------------------------------------------------------------ parts of a step

    def _refresh_state(self) -> None:
        """Quantities that several terms need, from the engine's tensors."""
        state, engine = self.state, self.engine
        self._refresh_reset()
        self.perception.draw_holes(self.generator)
        self._look(self._all)
        down = engine.contact_force[:, self._feet, 2] > 1.0
        torch.logical_or(down, self.feet_down, out=state.foot_contact)
        self.feet_down.copy_(down)
        torch.logical_and(state.foot_contact, self.feet_air_time > 0.0, out=state.first_contact)
        self.feet_air_time += self.step_dt

    def _refresh_reset(self) -> None:
        """The part of the state that a reset or a push changes."""
        state, engine = self.state, self.engine
        state.base_lin_vel.copy_(rotate_inverse(engine.base_quat, engine.base_lin_vel))
        if "gravity_tilt" in self._differing:
            gravity = rotate_inverse(engine.base_quat, engine.gravity)
            state.projected_gravity.copy_(gravity / engine.nominal["gravity"].norm())
        else:
            state.projected_gravity.copy_(gravity_in_base(engine.base_quat))
        self.commands.follow_heading(engine.base_quat)

    def _look(self, mask: Tensor, new: bool = False) -> None:
        self.perception.look(self.engine.base_pos, self.engine.base_quat, mask, new)

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

    def _observe(self, out: dict[str, Tensor]) -> None:
        columns = {name: term.func(self.state) for name, term in self.cfg.observations.items()}
        clip = self.cfg.clip_observations
        for group in self._groups:
            obs = out[group]
            torch.cat([columns[name] for name in self.cfg.terms_of(group)], dim=1, out=obs)
            obs.mul_(self._obs_scales[group])
            if group == "policy" and self.cfg.noise.enabled:
                obs.addcmul_(self._noise, self._obs_noise)
            obs.clamp_(-clip, clip)

    def _log(self, done: Tensor, terminated: Tensor, bad: Tensor) -> dict[str, Tensor]:
        finished = done.float()
        count = finished.sum()
        share = finished / count.clamp(min=1.0)
        sums = (share @ self.episode_sums) / self.cfg.episode_length
        log = {f"Episode/rew_{name}": sums[i] for i, name in enumerate(self.reward_terms)}
        state = self.state
        log["Train/lin_vel_error"] = torch.where(bad, 0.0, lin_vel_error(state)).mean()
        log["Train/ang_vel_error"] = torch.where(bad, 0.0, ang_vel_error(state)).mean()
        log["Episode/fall_rate"] = share @ terminated.float()
        log["Episode/length"] = share @ self.episode_length.float()
        log["Episode/non_finite"] = bad.float().sum()
        log["Episode/finished"] = count
        for name in self._differing:
            log[f"Randomisation/{name}"] = self.randomised[name].mean()
        return log

    def _reset_robots(self, mask: Tensor) -> None:
        """Put the robots in `mask` back to a random start and clear their memory."""
        if self.cfg.randomisation.redraw == "reset":
            self._randomise_robots(mask)
        cfg, n = self.cfg.init, self.num_envs
        column = mask.unsqueeze(1)
        joint_pos = self.default_joint_pos * self._uniform(cfg.joint_scale, self.num_actions)
        joint_pos.clamp_(*self.joint_pos_limits.unbind(1))
        base_pos = torch.full((n, 3), self.cfg.robot.init_height, device=self.device)
        base_pos[:, :2] = self._uniform((-cfg.base_position, cfg.base_position), 2)
        if self.course:
            base_pos += self.course.origins()
            self.course.begin(mask)
        base_quat = torch.zeros(n, 4, device=self.device)
        base_quat[:, 0] = 1.0
        if cfg.yaw:
            half = 0.5 * self._uniform((-cfg.yaw, cfg.yaw))
            base_quat[:, 0], base_quat[:, 3] = half.cos(), half.sin()
        velocity = self._uniform((-cfg.base_velocity, cfg.base_velocity), 6)
        self.engine.write_state(
            mask,
            base_pos,
            base_quat,
            velocity[:, :3],
            velocity[:, 3:],
            joint_pos,
            torch.zeros_like(joint_pos),
        )
        self.actuator.reset(mask)
        for buffer in (self.action, self.previous_action, self.previous_joint_vel, self.feet_air_time):
            buffer.masked_fill_(column, 0.0)
        self.pushes.end(mask)
        self.state.joint_acc.masked_fill_(column, 0.0)
        self.feet_down.masked_fill_(column, False)
        self.episode_sums.masked_fill_(column, 0.0)
        self.episode_length.masked_fill_(mask, 0)

    # ------------------------------------------------------------------ exact continuation

    def state_dict(self) -> dict[str, Any]:
        """Copies of every mutable tensor, the random generator's and the engine's state."""
        return {
            "buffers": {name: buffer.clone() for name, buffer in self._buffers.items()},
            "generator": self.generator.get_state(),
            "engine": self.engine.state_dict(),
            "obs": self._obs["policy"].clone(),
            "critic_obs": self._obs["critic"].clone(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue exactly where `state_dict` was taken; ValueError where shapes do not fit."""
        for name, buffer in self._buffers.items():
            if name not in state["buffers"] or state["buffers"][name].shape != buffer.shape:
                raise ValueError(f"the saved environment's {name!r} does not fit this task or num_envs")
            buffer.copy_(state["buffers"][name])
        self.generator.set_state(state["generator"].cpu())
        self.engine.load_state_dict(state["engine"])
        self._obs["policy"].copy_(state["obs"])
        self._obs["critic"].copy_(state.get("critic_obs", state["obs"]))
        self._refresh_reset()
        self.perception.recall(self.engine.base_pos, self.engine.base_quat)

    def get_observations(self) -> dict[str, Tensor]:
        """The observations last returned by `reset` or `step`."""
        return dict(self._obs)
