"""What robots perceive of the ground: the scan's observation, late, with holes, and in a mirror."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from envs import EnvConfig, LeggedEnv
from envs import observations as obs
from envs.config import ObservationTerm
from envs.frames import yaw_of
from terrains.ground import HeightField
from terrains.scan import HeightScan, ScanConfig
from tests.envs.common import calm, rugged


def seeing(**scan: object) -> EnvConfig:
    """Calm robots that see a map."""
    cfg = calm()
    cfg.terrain = rugged().terrain
    cfg.scan = ScanConfig(**scan)  # type: ignore[arg-type]
    cfg.observations["height_scan"] = ObservationTerm(obs.height_scan, (5.0,), 0.1, "scan")
    return cfg


def scan_columns(env: LeggedEnv, observation: Tensor) -> Tensor:
    width = env.obs_layout["height_scan"]
    assert list(env.obs_layout)[-1] == "height_scan"
    return observation[:, -width:]


def place(env: LeggedEnv, pos: Tensor, yaw: Tensor) -> None:
    """Put all robots somewhere, upright and at rest."""
    n = env.num_envs
    quat, zero = torch.zeros(n, 4), torch.zeros(n, 3)
    quat[:, 0], quat[:, 3] = (0.5 * yaw).cos(), (0.5 * yaw).sin()
    angles = env.default_joint_pos.expand(n, -1)
    mask = torch.ones(n, dtype=torch.bool)
    env.engine.write_state(mask, pos, quat, zero, zero, angles, torch.zeros_like(angles))


def scatter(env: LeggedEnv, seed: int, z: float = 2.5) -> None:
    """Put all robots anywhere on the map, high above the ground."""
    random = torch.Generator().manual_seed(seed)
    pos = torch.rand(env.num_envs, 3, generator=random) * torch.tensor([12.0, 16.0, 0.0])
    pos[:, 2] = z
    place(env, pos, 6.0 * torch.rand(env.num_envs, generator=random))


def rest(env: LeggedEnv) -> Tensor:
    return torch.zeros(env.num_envs, env.num_actions)


def truth(env: LeggedEnv) -> Tensor:
    """Heights around the robots as they are now, [N, P]."""
    assert env.course is not None
    scan = HeightScan(ScanConfig(), env.course.terrain.ground, env.device)
    out = torch.zeros(env.num_envs, scan.points.shape[1])
    scan(env.engine.base_pos, yaw_of(env.engine.base_quat), torch.ones(env.num_envs, dtype=torch.bool), out)
    return out


def test_the_observation_is_the_published_one() -> None:
    env = LeggedEnv(seeing(), 8, num_threads=1, seed=1)
    env.reset()
    for step, z in enumerate((0.6, 0.9, 4.0, -3.0)):
        scatter(env, step, z)
        _, _, _, _, info = env.step(rest(env))
        if z > 0.5:  # robots above the ground do not fall within a step
            expected = (env.engine.base_pos[:, 2:] - 0.5 - truth(env)).clamp(-1.0, 1.0) * 5.0
            seen = scan_columns(env, env.get_observations()["policy"])
            assert torch.allclose(seen, expected, atol=1e-5)
            assert torch.equal(seen, scan_columns(env, info["final_obs"]["policy"]))
            assert (seen == 5.0).all() == (z == 4.0)
        assert scan_columns(env, info["final_obs"]["policy"]).abs().max() <= 5.0


def test_the_first_observation_shows_the_tile_under_the_robot() -> None:
    env = LeggedEnv(seeing(), 8, num_threads=1, seed=1)
    seen = scan_columns(env, env.reset()[0]["policy"])
    expected = (env.engine.base_pos[:, 2:] - 0.5 - truth(env)).clamp(-1.0, 1.0) * 5.0
    assert torch.allclose(seen, expected, atol=1e-5) and seen.std() > 0.01


def test_delay_shows_the_past_of_this_episode() -> None:
    cfg = seeing(delay=0.06)  # three steps
    cfg.episode_length = 0.2
    env = LeggedEnv(cfg, 8, num_threads=1, seed=1)
    env.reset()
    env.episode_length.copy_(torch.arange(8))  # so that they end at different times
    past = [[heights] for heights in truth(env)]
    resets = 0
    for step in range(25):
        scatter(env, step)
        _, _, _, truncated, _ = env.step(rest(env))
        resets += int(truncated.sum())
        for robot, heights in enumerate(truth(env)):
            past[robot] = [heights] if truncated[robot] else [*past[robot], heights]
            assert torch.equal(env.state.height_scan[robot], past[robot][max(-4, -len(past[robot]))])
        assert torch.equal(env.state.ground_height, truth(env).mean(1)), "what rewards see is not late"
    assert 8 < resets < 8 * 25


def test_dropout_hides_a_share_of_the_points_anew_every_step() -> None:
    env = LeggedEnv(seeing(dropout=0.3), 16, num_threads=1, seed=1)
    observations, hidden = [env.reset()[0]["policy"].clone()], []
    for step in range(3):
        scatter(env, step, z=1.13)
        observations.append(env.step(rest(env))[0]["policy"].clone())
    for observation in observations:
        seen = scan_columns(env, observation)
        hidden.append(seen.abs() < 1e-5)
        assert hidden[-1].float().mean() == pytest.approx(0.3, abs=0.05)
        assert hidden[-1].float().mean(1).max() < 0.6, "points, not robots"
    for one, other in zip(hidden, hidden[1:], strict=False):
        assert (one & other).float().mean() == pytest.approx(0.09, abs=0.03)
    level = env.state.base_pos[:, 2:] - 0.5
    shown = env.state.height_scan != level
    env.perception.look(env.engine, env._all, new=True)
    assert torch.equal(env.state.height_scan != level, shown), "and once a step only"
    assert torch.equal(env.state.height_scan[shown], env.perception.heights[shown])


def test_all_dropped_is_level_ground_on_a_map_and_on_a_plane() -> None:
    for make_cfg in (lambda: seeing(dropout=1.0), lambda: flat(dropout=1.0)):
        env = LeggedEnv(make_cfg(), 4, num_threads=1)
        env.reset()
        env.step(rest(env))
        assert scan_columns(env, env.get_observations()["policy"]).abs().max() < 1e-5


def flat(**scan: object) -> EnvConfig:
    cfg = seeing(**scan)
    cfg.terrain.type = "plane"
    return cfg


def test_a_plane_looks_level() -> None:
    env = LeggedEnv(flat(), 4, num_threads=1)
    env.reset()
    seen = scan_columns(env, env.step(rest(env))[0]["policy"])
    assert torch.allclose(seen, (5.0 * (env.engine.base_pos[:, 2:] - 0.5)).expand(4, 187))


def test_a_mirrored_robot_on_a_mirrored_map_sees_the_mirrored_scan() -> None:
    # bilinear, as the lowest of three vertices is not the same from the other side
    heights = 0.4 * torch.rand(90, 121, generator=torch.Generator().manual_seed(5)).numpy()
    cfg = seeing(lookup="bilinear")
    random = torch.Generator().manual_seed(6)
    pos = 2.0 * torch.rand(6, 3, generator=random) - 1.0
    pos[:, 2] = 0.9
    yaw = 3.0 * torch.rand(6, generator=random)
    seen = []
    for map_of, sign in ((heights, 1.0), (heights[:, ::-1], -1.0)):
        env = LeggedEnv(cfg, 6, num_threads=1, ground=HeightField.centred(map_of.copy(), 0.1))
        env.reset()
        place(env, pos * torch.tensor([1.0, sign, 1.0]), sign * yaw)
        env._refresh_base()
        env.perception.look(env.engine, env._all, new=True)
        seen.append(
            env.set_commands(torch.tensor([[0.4, sign * 0.3, sign * 0.2]]).expand(6, 3))["policy"].clone()
        )
    index, mirror_sign = env.obs_mirror
    torch.testing.assert_close(seen[1], seen[0][:, index] * mirror_sign, rtol=0, atol=1e-4)
    assert (scan_columns(env, seen[1]) - scan_columns(env, seen[0])).abs().max() > 0.5
