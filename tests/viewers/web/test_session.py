"""What is set in pages reaches the robots; only the session's own thread touches them."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch

from terrains.ground import HeightField, Plane
from tests.viewers.web.conftest import SEEN, env_of
from viewers.web.session import PATIENCE, Session


def in_page(session: Session, **values: Any) -> None:
    """Set values as a page does, and let the session take them over."""
    session.inbox.put(("set", values))
    session.hear()
    time.sleep(PATIENCE + 0.05)
    session.hear()


def test_command_reaches_the_policys_observation(session: Session) -> None:
    layout = env_of(session).obs_layout
    start = sum(list(layout.values())[: list(layout).index("command")])
    in_page(session, vx=0.5)
    session.simulation.step()
    scale = env_of(session).obs_scale[start]
    assert torch.allclose(SEEN[0][:, start], 0.5 * scale)
    in_page(session, everyone=False, robot=1, vx=-0.5)
    session.simulation.step()
    assert torch.allclose(SEEN[0][:, start], torch.tensor([0.5, -0.5]) * scale)


def test_pickers_change_ground_policy_and_number(session: Session) -> None:
    assert isinstance(env_of(session).ground, Plane)
    in_page(session, terrain="stairs_up", difficulty=1.0, robots=3, policy="other")
    env = env_of(session)
    assert isinstance(env.ground, HeightField) and env.num_envs == 3
    assert env.cfg.robot.name == "go2"
    assert session.page.values["terrain"].value == "stairs_up"
    assert "terrain=stairs_up" in session._link()


def test_a_policy_that_cannot_be_opened_changes_nothing(session: Session) -> None:
    before = session.simulation
    in_page(session, policy="broken")
    assert session.simulation is before and session.settings.policy == "one"
    assert "damaged" in session.page._status.content


def test_what_needs_no_new_simulation_stays_when_one_cannot_be_had(session: Session) -> None:
    in_page(session, friction=0.3, vx=0.5, policy="broken")
    assert (session.settings.friction, session.settings.vx, session.settings.policy) == (0.3, 0.5, "one")
    assert torch.allclose(env_of(session).randomised["friction"], torch.tensor(0.3))


def test_new_robots_have_the_commands_that_were_set(session: Session) -> None:
    in_page(session, everyone=False, robot=1, vx=1.0, robots=3)
    simulation = session.simulation
    assert [float(simulation.measure(i).command[0]) for i in range(3)] == [0.0, 1.0, 0.0]


def test_friction_and_payload_reach_the_engine(session: Session) -> None:
    nominal = env_of(session).engine.nominal["base_mass"].item()
    in_page(session, friction=0.3, payload=5.0)
    session.simulation.reset()
    env = env_of(session)
    assert torch.allclose(env.engine.base_mass, torch.tensor(nominal + 5.0))
    assert torch.allclose(env.randomised["friction"], torch.tensor(0.3))


def test_push_moves_the_chosen_robot_where_it_should(session: Session) -> None:
    in_page(session, everyone=False, robot=1)
    before = env_of(session).engine.base_lin_vel.clone()
    session.page.direction.value = "from the left"  # type: ignore[misc]
    session.inbox.put(("press", "push"))
    session.hear()
    gained = env_of(session).engine.base_lin_vel - before
    heading = session.simulation.heading(1)
    assert torch.allclose(gained[0], torch.zeros(3))
    expected = torch.tensor([np.sin(heading), -np.cos(heading), 0.0]).float()
    assert torch.allclose(gained[1], expected, atol=1e-5)


def test_a_robot_that_is_gone_cannot_be_pushed(session: Session) -> None:
    before = env_of(session).engine.base_lin_vel.clone()
    session.inbox.put(("push", ([10], (1.0, 0.0))))
    session.hear()
    assert torch.equal(env_of(session).engine.base_lin_vel, before)


def test_pause_step_and_slow_motion(session: Session) -> None:
    simulation = session.simulation
    session._advance(0.1)
    assert round(simulation.time, 6) == 0.1
    session.page.speed.value = 0.1  # type: ignore[misc]
    session._advance(0.1)
    session._advance(0.1)
    assert round(simulation.time, 6) == 0.12
    session.inbox.put(("press", "pause"))
    session.hear()
    session._advance(0.1)
    assert round(simulation.time, 6) == 0.12
    session.inbox.put(("press", "step"))
    session.hear()
    session._advance(0.0)
    session._advance(0.1)
    assert round(simulation.time, 6) == 0.14


def test_keys_and_links_of_the_script(session: Session) -> None:
    session.inbox.put(("said", {"axes": [1, 0, -0.5]}))
    session.hear()
    assert session.settings.command == (1.0, 0.0, -0.5)
    for nonsense in (
        {"axes": "up"},
        {"axes": [None] * 3},
        {"link": 7},
        {"press": ["x"]},
        {"axes": [9, 9, 9]},
    ):
        session.inbox.put(("said", nonsense))
    session.inbox.put(("said", {"link": "?policy=other&terrain=moon&robots=1"}))
    session.hear()
    assert session.settings.policy == "other" and session.settings.robots == 1
    assert session.settings.terrain == "plane" and "moon" in session.page._status.content
