"""Robots begin their episodes on the ground: not in it, and not far above it."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest
import torch

from envs import EnvConfig, LeggedEnv, all_tasks, get_task
from physics.scene import build_scene
from terrains.ground import HeightField, Plane
from terrains.shapes import SHAPES
from tests.envs.common import calm, make

DEEP, HIGH = 0.01, 0.25
"""No sphere is deeper in the ground, no robot higher above it, m."""


def spheres(env: LeggedEnv) -> tuple[np.ndarray, np.ndarray]:
    """Centres [N, P, 3] and radii [P] of the spheres that robots touch the ground with, by MuJoCo's kinematics."""
    model = build_scene(env.cfg.robot, Plane())
    data, engine = mujoco.MjData(model), env.engine
    local = []
    for geom in np.flatnonzero(model.geom_contype):
        size = model.geom_size[geom]
        if model.geom_type[geom] == mujoco.mjtGeom.mjGEOM_SPHERE:
            local.append((geom, np.zeros(3), size[0]))
        else:
            assert model.geom_type[geom] == mujoco.mjtGeom.mjGEOM_CAPSULE
            local += [(geom, np.array([0.0, 0.0, end * size[1]]), size[0]) for end in (-1, 1)]
    centres = np.zeros((env.num_envs, len(local), 3))
    states = (engine.base_pos, engine.base_quat, engine.joint_pos)
    for robot, state in enumerate(torch.cat(states, 1).double().numpy()):
        data.qpos[:] = state
        mujoco.mj_kinematics(model, data)
        for k, (geom, at, _) in enumerate(local):
            centres[robot, k] = data.geom_xpos[geom] + data.geom_xmat[geom].reshape(3, 3) @ at
    return centres, np.array([radius for *_, radius in local])


def stand(env: LeggedEnv) -> tuple[np.ndarray, np.ndarray]:
    """Which robots have a sphere deeper in the ground than `DEEP`, bool [N], and how far above it each is, m, [N]."""
    centres, radii = spheres(env)
    angles = np.linspace(0.0, 2.0 * np.pi, 8, endpoint=False)
    ring = np.stack((np.cos(angles), np.sin(angles)), 1)
    around = np.concatenate(([[0.0, 0.0]], 0.5 * ring, ring))

    def ground(reach: np.ndarray) -> np.ndarray:  # at those points of each sphere, [K, N, P]
        points = centres[..., :2] + around[:, None, None] * reach[:, None]
        return (
            env.ground.height_at(points)
            if isinstance(env.ground, HeightField)
            else np.zeros(points.shape[:-1])
        )

    inner = np.maximum(radii - DEEP, 0.0)  # the sphere that must not touch
    below = np.sqrt(np.maximum(1.0 - (around**2).sum(1), 0.0))[:, None, None] * inner
    deep = (ground(inner) > centres[..., 2] - below).any((0, 2))
    above = (centres[..., 2] - radii - ground(radii)).min((0, 2))
    return deep, above


def on_every_shape(cfg: EnvConfig) -> EnvConfig:
    cfg.terrain.proportions = dict.fromkeys(SHAPES, 1.0 / len(SHAPES))
    cfg.terrain.columns = len(SHAPES)
    cfg.curriculum.strategy = "uniform"
    return cfg


@pytest.mark.parametrize(
    ("task", "engine"),
    [("anymal_c_rough", "batched"), ("go2_rough", "mujoco")]
    + [pytest.param(task, "batched", marks=pytest.mark.slow) for task in all_tasks()],
)
def test_robots_begin_on_the_ground_on_every_shape_and_level(task: str, engine: str) -> None:
    cfg = get_task(task).recipe("").env()
    if cfg.terrain.type != "plane":
        on_every_shape(cfg)
    env = LeggedEnv(cfg, 260, engine=engine, num_threads=2)
    env.reset(seed=1)
    if env.course:
        assert len(env.course.level.unique()) == cfg.terrain.levels and len(env.course.shape.unique()) == len(
            SHAPES
        )
    deep, above = stand(env)
    assert not deep.any()
    assert above.max() < HIGH


def test_nor_are_they_in_the_hardest_ground_wherever_they_begin() -> None:
    cfg = on_every_shape(get_task("anymal_c_rough").recipe("gpu").env())
    cfg.curriculum.strategy, cfg.init.base_position = "hardest", 3.0
    env = LeggedEnv(cfg, 300, engine="batched", num_threads=2)
    env.reset(seed=1)
    deep, above = stand(env)
    assert deep.sum() <= 1  # a knee between the corners that are looked at
    assert above.max() < HIGH


def test_a_later_episode_begins_on_the_ground_too_and_others_go_on() -> None:
    cfg = on_every_shape(get_task("go2_rough").recipe("").env())
    cfg.init.random_first_episode, cfg.episode_length = True, 0.5
    env = LeggedEnv(cfg, 64, engine="batched", num_threads=2)
    env.reset(seed=1)
    for _ in range(5):
        before = env.engine.base_pos[:, 2].clone()
        _, _, terminated, truncated, _ = env.step(torch.zeros(64, 12))
        new = (terminated | truncated).numpy()
        deep, above = stand(env)
        assert new.any() and not deep[new].any() and above[new].max() < HIGH
        assert (env.engine.base_pos[:, 2] - before).abs()[~new].max() < 0.1


def test_level_ground_of_any_height_changes_nothing() -> None:
    cfg = calm()
    plane = make(cfg, 16)
    raised = LeggedEnv(
        cfg, 16, engine="batched", num_threads=1, ground=HeightField.centred(np.full((99, 99), 0.5), 0.1)
    )
    for env in (plane, raised):
        env.reset(seed=3)
    torch.testing.assert_close(raised.engine.base_pos[:, 2] - 0.5, plane.engine.base_pos[:, 2])
    torch.testing.assert_close(raised.engine.foot_pos[..., 2] - 0.5, plane.engine.foot_pos[..., 2])


def test_a_share_of_robots_starts_at_rest_in_the_nominal_stance() -> None:
    cfg = calm()
    cfg.init.nominal_share = 0.25
    env = make(cfg, 64)
    shares = []
    for seed in range(20):
        env.reset(seed=seed)
        engine = env.engine
        still = (engine.base_lin_vel == 0.0).all(1) & (engine.base_ang_vel == 0.0).all(1)
        assert torch.equal((engine.joint_pos == env.default_joint_pos).all(1), still)
        shares.append(still.float().mean())
    assert torch.stack(shares).mean() == pytest.approx(0.25, abs=0.04)
