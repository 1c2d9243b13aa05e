"""A critic with an observation of its own: what it alone sees, without noise, wherever observations appear."""

from __future__ import annotations

import pytest
import torch

from envs import EnvConfig, LeggedEnv
from envs import observations as obs
from envs.config import ObservationTerm
from tests.envs.common import calm, lively, make, overturn, random_actions, reference

PRIVILEGED = {
    "friction": ObservationTerm(obs.friction, (1.0,), 0.0, "scalar", "critic"),
    "added_base_mass": ObservationTerm(obs.added_base_mass, (0.2,), 0.0, "scalar", "critic"),
    "foot_contact": ObservationTerm(obs.foot_contact, (1.0,), 0.0, "feet", "critic"),
    "foot_force": ObservationTerm(obs.foot_force, (0.01,), 0.0, "feet", "critic"),
}


def asymmetric(cfg: EnvConfig) -> EnvConfig:
    """The policy loses the base's velocity, the critic the last action; the critic gains four terms."""
    cfg.observations["base_lin_vel"].group = "critic"
    cfg.observations["previous_action"].group = "policy"
    cfg.observations |= PRIVILEGED
    return cfg


def columns(env: LeggedEnv, name: str, observation: torch.Tensor) -> torch.Tensor:
    """A term's columns of the critic's observation."""
    names = list(env.critic_obs_layout)
    start = sum(env.critic_obs_layout[n] for n in names[: names.index(name)])
    return observation[:, start : start + env.critic_obs_layout[name]]


def test_each_sees_its_terms() -> None:
    env = make(asymmetric(reference()))
    assert list(env.obs_layout) == [
        "base_ang_vel", "projected_gravity", "command", "joint_pos", "joint_vel", "previous_action"
    ]  # fmt: skip
    assert env.num_obs == 45 and env.num_critic_obs == 36 + 1 + 1 + 4 + 4
    for action in random_actions(env, 20):
        observation, *_ = env.step(action)
    critic, engine = observation["critic"], env.engine
    assert observation["policy"].shape == (8, 45) and critic.shape == (8, 46)
    assert torch.equal(columns(env, "base_lin_vel", critic), env.state.base_lin_vel * 2.0)
    assert torch.equal(columns(env, "friction", critic)[:, 0], env.randomised["friction"])
    assert torch.equal(columns(env, "added_base_mass", critic)[:, 0], env.randomised["added_base_mass"] * 0.2)
    force = engine.contact_force[:, env.state.feet, 2]
    assert force.max() > 50.0 and env.randomised["friction"].std() > 0.0
    assert torch.equal(columns(env, "foot_force", critic), force * 0.01)
    assert torch.equal(columns(env, "foot_contact", critic), (force > 1.0).float())
    joint_vel = env.joint_names.index("LF_HFE")
    assert torch.equal(columns(env, "joint_vel", critic)[:, joint_vel], engine.joint_vel[:, joint_vel] * 0.05)


def test_the_policys_noise_spares_the_critic() -> None:
    clean, noisy = calm(), calm()
    noisy.noise.enabled = noisy.clean_critic = True
    clean_env, noisy_env = make(clean), make(noisy)
    assert noisy_env.num_critic_obs == noisy_env.num_obs == 48
    for action in random_actions(clean_env, 5):
        expected, observation = clean_env.step(action)[0], noisy_env.step(action)[0]
        assert torch.equal(observation["critic"], expected["policy"])
        assert not torch.equal(observation["policy"], expected["policy"])


def test_both_observations_appear_wherever_one_does() -> None:
    env = make(asymmetric(lively()))
    for action in random_actions(env, 10):
        overturn(env, 3)
        observation, _, terminated, truncated, info = env.step(action)
    alive = ~(terminated | truncated)
    assert terminated[3] and alive.any()
    critic, final = observation["critic"], info["final_obs"]["critic"]
    # upside down at the end, upright again at the start of the next episode
    assert columns(env, "projected_gravity", final)[3, 2] > 0.9
    assert columns(env, "projected_gravity", critic)[3, 2] < -0.99
    assert (
        not columns(env, "foot_force", critic)[3].any() and not columns(env, "foot_contact", critic)[3].any()
    )
    assert env.get_observations()["critic"] is critic
    command = torch.tensor([[0.5, -0.5, 1.0]]).repeat(8, 1)
    assert torch.equal(
        columns(env, "command", env.set_commands(command)["critic"]), command * torch.tensor([2.0, 2.0, 0.25])
    )
    assert env.observation_space.contains({name: o.numpy() for name, o in env.get_observations().items()})
    other = make(asymmetric(lively()), seed=5)
    other.load_state_dict(env.state_dict())
    assert torch.equal(other.get_observations()["critic"], critic)
    assert torch.equal(other.step(action)[0]["critic"], env.step(action)[0]["critic"])


def test_a_broken_robot_reaches_neither() -> None:
    cfg = asymmetric(calm())
    cfg.observations["broken"] = ObservationTerm(
        lambda state: torch.where(state.base_pos[:, :1] > 0.0, torch.nan, 1.0),
        (1.0,),
        0.0,
        "scalar",
        "critic",
    )
    env = make(cfg)
    broken = env.engine.base_pos[:, 0] > 0.01
    assert broken.any() and not broken.all()
    _, reward, terminated, _, info = env.step(torch.zeros(8, 12))
    assert terminated[broken].all() and not reward[broken].any()
    for final in info["final_obs"].values():
        assert torch.isfinite(final).all() and not final[broken].any()


def test_nobody_is_left_without_an_observation() -> None:
    cfg = reference()
    for term in cfg.observations.values():
        term.group = "critic"
    with pytest.raises(ValueError, match="env.observations needs a term whose group is both or policy"):
        cfg.validate()
    cfg.observations["command"].group = "crtic"  # type: ignore[assignment]
    with pytest.raises(ValueError, match="env.observations.command.group must be both, policy or critic"):
        cfg.validate()
