"""Recordings hold what happened; robots are spread out and filmed smoothly."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from envs.legged_env import LeggedEnv
from viewers.recording import Recording, follow, formation, frame_steps, record


def test_policy_sees_the_command_and_the_recording_keeps_it(env: LeggedEnv) -> None:
    names = list(env.obs_layout)
    start = sum(env.obs_layout[name] for name in names[: names.index("command")])
    scale = env.obs_scale[start : start + 3]
    seen = []

    def policy(obs: torch.Tensor) -> torch.Tensor:
        seen.append(obs[:, start : start + 3] / scale)
        return torch.zeros(len(obs), env.num_actions)

    commands = torch.tensor([[0.5, 0.0, 0.0], [0.0, -0.3, 0.1], [0.0, 0.0, 1.0]])
    recording = record(env, policy, commands, seed=1)
    torch.testing.assert_close(torch.stack(seen), commands[:, None].expand(3, env.num_envs, 3))
    np.testing.assert_array_equal(recording.command, commands.numpy())


def test_shapes_and_velocities(env: LeggedEnv, recording: Recording) -> None:
    steps, robots, joints, feet = 20, 3, 12, 4
    assert (recording.num_steps, recording.num_robots) == (steps, robots)
    assert recording.base_pos.shape == (steps, robots, 3)
    assert recording.joint_target.shape == recording.joint_torque.shape == (steps, robots, joints)
    assert recording.foot_contact.shape == (steps, robots, feet)
    assert recording.time[-1] == steps * env.step_dt
    np.testing.assert_array_equal(recording.velocity[..., 2], recording.base_ang_vel[..., 2])
    # zero actions ask for the nominal stance
    np.testing.assert_allclose(recording.joint_target, np.tile(env.default_joint_pos, (steps, robots, 1)))
    moved = np.linalg.norm(recording.velocity[..., :2] - recording.command[:, None, :2], axis=-1).mean()
    assert np.isclose(recording.tracking_error()[0], moved)


def test_same_seed_gives_the_same_recording(env: LeggedEnv, recording: Recording) -> None:
    again = record(
        env,
        lambda obs: torch.zeros(len(obs), env.num_actions),
        torch.from_numpy(recording.command),
        seed=3,
    )
    np.testing.assert_array_equal(again.base_pos, recording.base_pos)


def test_formation_keeps_robots_apart_and_motion_unchanged(recording: Recording) -> None:
    positions = formation(recording)
    distances = np.linalg.norm(positions[0, :, None, :2] - positions[0, None, :, :2], axis=-1)
    assert distances[~np.eye(3, dtype=bool)].min() > 0.5
    np.testing.assert_allclose(np.diff(positions, axis=0), np.diff(recording.base_pos, axis=0), atol=1e-6)


def test_a_robot_that_fell_goes_on_where_it_fell(recording: Recording) -> None:
    base_pos, fell = recording.base_pos.copy(), recording.fell.copy()
    base_pos[10:, 1, 0] -= 5.0
    fell[10, 1] = True
    positions = formation(dataclasses.replace(recording, base_pos=base_pos, fell=fell))
    np.testing.assert_allclose(positions[10, 1, :2], positions[9, 1, :2], atol=1e-6)
    np.testing.assert_allclose(np.diff(positions, axis=0)[:, 0], np.diff(base_pos, axis=0)[:, 0], atol=1e-6)


def test_camera_is_smooth(recording: Recording) -> None:
    base_pos = recording.base_pos.copy()
    base_pos[10:, :, 0] += 1.0
    jump = dataclasses.replace(recording, base_pos=base_pos)
    cameras = follow(jump, formation(jump))
    assert len(cameras) == jump.num_steps
    track = np.array([camera.lookat for camera in cameras])
    assert np.abs(np.diff(track[:, 0])).max() < 0.05


def test_frames_cover_the_recording_once(recording: Recording) -> None:
    assert frame_steps(recording, 50.0).tolist() == list(range(20))
    assert frame_steps(recording, 25.0).tolist() == list(range(0, 20, 2))
    assert len(frame_steps(recording, 1.0)) == 1
    assert frame_steps(recording, 60.0).max() == 19
