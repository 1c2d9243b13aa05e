"""Plain MuJoCo sees and drives the robot as the environment does, and refuses bad input with one sentence."""

from __future__ import annotations

import ast
import json
import shutil
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import pytest
import torch

from algorithms import Actor, PolicyConfig, checkpoint
from algorithms.trainer import make_policy
from deploy import episodes as sim2sim_episodes
from deploy import ground as sim2sim_ground
from deploy import robot as sim2sim_robot
from deploy.figures import figures, walk_figures
from deploy.ground import Field, file_course
from deploy.robot import Robot
from envs.legged_env import LeggedEnv
from robots import ANYMAL_C
from runs.config import default_config, save_config
from runs.export import export_run
from runs.folders import load_policy, open_run
from scripts import sim2sim
from scripts.sim2sim import main, shape_course
from terrains.grid import single_terrain
from terrains.ground import HeightField
from terrains.shapes import make_tile

MJCF = ANYMAL_C.mjcf_path


@pytest.fixture(scope="module")
def env() -> LeggedEnv:
    """One nominal robot that keeps its first command."""
    cfg = default_config("anymal_c_flat").env
    cfg.noise.enabled = False
    cfg.randomisation.friction = (1.0, 1.0)
    cfg.randomisation.added_base_mass = (0.0, 0.0)
    cfg.randomisation.push_interval = 0.0
    return LeggedEnv(cfg, 1, "mujoco", num_threads=1)


@pytest.fixture(scope="module")
def run_folder(env: LeggedEnv, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a small random policy that moves its legs, and its export."""
    cfg = default_config("anymal_c_flat")
    cfg.agent.policy.actor_hidden = cfg.agent.policy.critic_hidden = (16, 8)
    torch.manual_seed(0)
    policy = make_policy(env, cfg.agent)
    folder = tmp_path_factory.mktemp("run")
    save_config(cfg, folder / "config.yaml")
    content = {"metadata": {"task": cfg.task}, "iteration": 1, "policy": policy.state_dict()}
    checkpoint.save(folder / "model_1.pt", content)
    export_run(open_run(load_run=str(folder)), env, folder / "exported")
    return folder


@pytest.fixture
def exported(run_folder: Path, tmp_path: Path) -> Path:
    """A copy of the export that a test may spoil."""
    return Path(shutil.copytree(run_folder / "exported", tmp_path / "exported"))


def edit(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change `policy.json`."""
    facts = json.loads((folder / "policy.json").read_text())
    change(facts)
    (folder / "policy.json").write_text(json.dumps(facts))


def edit_mjcf(path: Path, change: Callable[[ElementTree.Element], None]) -> Path:
    """A changed copy of the robot's MJCF."""
    root = ElementTree.fromstring(mujoco.MjSpec.from_file(str(MJCF)).to_xml())  # without includes
    change(root)
    ElementTree.ElementTree(root).write(path)
    return path


def base_of(root: ElementTree.Element) -> ElementTree.Element:
    base = root.find("worldbody/body")
    assert base is not None
    return base


def reverse_legs(root: ElementTree.Element) -> None:
    base = base_of(root)
    legs = base.findall("body")
    for leg in legs:
        base.remove(leg)
    base.extend(reversed(legs))


def test_needs_nothing_of_the_project() -> None:
    """But the shapes of terrain, which are data."""
    modules = set()
    files = [Path(str(sim2sim.__file__)), *Path(str(sim2sim_robot.__file__)).parent.glob("*.py")]
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                modules |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                modules.add(str(node.module))
    assert len(files) > 5
    roots = {name.split(".")[0] for name in modules - {"terrains.shapes"}}
    assert not roots & {"algorithms", "envs", "physics", "robots", "scripts", "terrains", "viewers", "torch"}


def test_first_steps_agree_with_the_environment(env: LeggedEnv, run_folder: Path) -> None:
    facts, act = sim2sim_robot.load_policy(run_folder / "exported")
    policy = load_policy(open_run(load_run=str(run_folder)), env)
    robot = Robot(facts, MJCF)
    obs = env.reset(seed=3)[0]["policy"]
    engine = env.engine
    pose = torch.cat((engine.base_pos, engine.base_quat), 1)[0].double().numpy()
    velocity = torch.cat((engine.base_lin_vel, engine.base_ang_vel), 1)[0].double().numpy()
    robot.place(pose, velocity, engine.joint_pos[0].double().numpy(), engine.joint_vel[0].double().numpy())
    robot.command = env.command[0].double().numpy()
    for _ in range(10):  # the feet touch the ground after about five
        np.testing.assert_allclose(robot.observe(), obs[0], atol=1e-4)
        with torch.no_grad():
            step = env.step(policy.mean(obs))
        obs = step[0]["policy"]
        fell, work, _ = robot.step(act(robot.observe()))
        assert not fell and work > 0.0
    assert engine.contact_force[0, :4, 2].sum() > 1.0


def test_fall_is_seen_as_the_environment_sees_it(env: LeggedEnv, run_folder: Path) -> None:
    """A robot dropped on its side: base or hips hit the ground at the same policy step in both."""
    facts, _ = sim2sim_robot.load_policy(run_folder / "exported")
    robot = Robot(facts, MJCF)
    env.reset(seed=3)
    pose = torch.tensor([0.0, 0.0, 0.4, 0.7071, 0.7071, 0.0, 0.0])
    joints = env.default_joint_pos.unsqueeze(0)
    still = torch.zeros(1, 3)
    env.engine.write_state(
        torch.ones(1, dtype=torch.bool), pose[None, :3], pose[None, 3:], still, still, joints, 0.0 * joints
    )
    robot.place(pose.numpy(), np.zeros(6), joints[0].double().numpy(), np.zeros(12))
    for _ in range(50):
        terminated = bool(env.step(torch.zeros(1, 12))[2][0])
        fell, _, _ = robot.step(np.zeros(12))
        assert fell == terminated
        if fell:
            return
    pytest.fail("the robot never fell")


def test_joint_order_of_the_model_does_not_matter(run_folder: Path, tmp_path: Path) -> None:
    facts, act = sim2sim_robot.load_policy(run_folder / "exported")
    other = Robot(facts, edit_mjcf(tmp_path / "reversed.xml", reverse_legs))
    robot = Robot(facts, MJCF)
    assert other.model.joint(1).name != robot.model.joint(1).name
    for each in (robot, other):
        each.reset(np.random.default_rng(0))
        each.command = np.array([0.5, 0.1, -0.2])
    for _ in range(15):
        np.testing.assert_allclose(other.observe(), robot.observe(), atol=1e-6)
        for each in (robot, other):
            each.step(act(each.observe()))


def test_command_line(run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = ["--policy", str(run_folder / "exported"), "--episodes", "3", "--seconds", "2", "--threads", "1"]
    assert main([*args, "--json", str(tmp_path / "figures.json")]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    line = {key: float(value) for key, value in (pair.split("=") for pair in last.split())}
    report = json.loads((tmp_path / "figures.json").read_text())
    assert {"lin_vel_error", "ang_vel_error", "falls", "cost_of_transport"} <= line.keys()
    for name, value in line.items():
        low, high = report["intervals"][name]
        assert report[name] == pytest.approx(value, abs=1e-4) and low <= report[name] <= high
    assert report["training"]["iteration"] == 1


def test_a_policy_that_came_along_is_exported_first() -> None:
    with sim2sim.exported(Path("go2_flat")) as folder:
        facts, _ = sim2sim_robot.load_policy(folder)
        assert facts["mjcf"] == "go2.xml"
    assert not folder.exists()


def test_processes_do_not_change_the_figures(run_folder: Path) -> None:
    one, two = (sim2sim_episodes.drive_all(run_folder / "exported", MJCF, 3, 2.0, 1, n) for n in (1, 2))
    assert np.array_equal(one.lin_error, two.lin_error) and np.array_equal(one.work, two.work)


def test_a_policy_with_a_memory_is_driven_episode_by_episode(env: LeggedEnv, tmp_path: Path) -> None:
    cfg = default_config("anymal_c_flat")
    cfg.agent.policy = PolicyConfig((8,), (8,), recurrent="lstm", recurrent_hidden=8)
    torch.manual_seed(0)
    policy = make_policy(env, cfg.agent)
    save_config(cfg, tmp_path / "config.yaml")
    content = {"metadata": {"task": cfg.task}, "iteration": 1, "policy": policy.state_dict()}
    checkpoint.save(tmp_path / "model_1.pt", content)
    folder = export_run(open_run(load_run=str(tmp_path)), env, tmp_path / "exported")
    assert "'hidden' [batch, S]" in json.loads((folder / "policy.json").read_text())["description"]
    _, act = sim2sim.load_policy(folder)
    actor, obs = Actor(policy), torch.randn(5, 48)
    for _ in range(2):
        for x in obs:
            np.testing.assert_allclose(act(x.numpy()), actor(x[None])[0], atol=1e-5)
        act.reset()
        actor.reset()
    # the second of two equal episodes is the first
    commands = np.repeat(sim2sim_episodes.sample_commands(1, 2.0, 1), 2, axis=0)
    episodes = sim2sim_episodes.drive(folder, MJCF, 2.0, commands, [[1, 0], [1, 0]])
    assert np.array_equal(episodes.lin_error[0], episodes.lin_error[1])


def test_figures_of_known_episodes() -> None:
    """Ten episodes of 10 s, two commands each; nine off by 0.1 m/s after a bad first second, one fell."""
    dt, steps = 0.1, 100
    lin = np.full((10, steps), 0.1)
    lin[:, np.arange(steps) % 50 < 10] = 0.6
    lin[9] = 0.8
    fell = np.arange(10) == 9
    episodes = sim2sim_episodes.Episodes(lin, 0.5 * lin, fell, np.full(10, 60.0), np.full(10, 2.0))
    found = figures(episodes, dt, weight=100.0)
    assert found["lin_vel_error"].value == pytest.approx(0.9 * (0.8 * 0.1 + 0.2 * 0.6) + 0.08)
    assert found["lin_vel_error_settled"].value == pytest.approx(0.9 * 0.1 + 0.08)
    assert found["ang_vel_error_p95"].value == pytest.approx(0.4)
    assert found["cost_of_transport"].value == pytest.approx(0.3)
    falls = found["falls"]  # Wilson's interval for 1 of 10
    assert (falls.value, falls.low, falls.high) == pytest.approx((0.1, 0.0179, 0.4042), abs=1e-3)
    lin_error = found["lin_vel_error"]
    assert lin_error.low < lin_error.value < lin_error.high


def test_commands_are_those_of_the_evaluation() -> None:
    expected = np.random.default_rng(4).uniform(-1.0, 1.0, (3, 4, 3))
    assert np.array_equal(sim2sim_episodes.sample_commands(3, 20.0, 4), expected)


def test_after_a_fall_the_command_is_the_error(exported: Path) -> None:
    edit(exported, lambda facts: facts.update(effort_limit=[1e-3] * 12))  # collapses
    commands = sim2sim_episodes.sample_commands(1, 2.0, 1)
    episodes = sim2sim_episodes.drive(exported, MJCF, 2.0, commands, [[1, 0]])
    assert episodes.fell[0]
    np.testing.assert_allclose(episodes.lin_error[0, -1], np.linalg.norm(commands[0, 0, :2]))
    np.testing.assert_allclose(episodes.ang_error[0, -1], abs(commands[0, 0, 2]))


# ---------------------------------------------------------------------- uneven ground


def bumps() -> np.ndarray:
    """An uneven map that looks different from every side, m, [61, 41]."""
    x, y = np.meshgrid(np.arange(61), np.arange(41), indexing="ij")
    return np.random.default_rng(0).uniform(0.0, 0.05, (61, 41)) + 0.004 * x - 0.002 * y + 0.2 * (x > 40)


def rough_env(lookup: str) -> LeggedEnv:
    """One nominal robot on the bumps that keeps its first command."""
    cfg = default_config("anymal_c_rough").env
    cfg.noise.enabled = False
    cfg.randomisation.friction = (1.0, 1.0)
    cfg.randomisation.added_base_mass = (0.0, 0.0)
    cfg.randomisation.push_interval = 0.0
    cfg.commands.heading = False
    cfg.init.yaw = np.pi
    cfg.scan.lookup = lookup  # type: ignore[assignment]
    return LeggedEnv(cfg, 1, "mujoco", num_threads=1, ground=HeightField.centred(bumps(), 0.1))


def export_rough(env: LeggedEnv, folder: Path) -> Path:
    """Export of a small random policy; returns its folder."""
    cfg = default_config("anymal_c_rough")
    cfg.env = env.cfg
    cfg.agent.policy.actor_hidden = cfg.agent.policy.critic_hidden = (16, 8)
    torch.manual_seed(0)
    policy = make_policy(env, cfg.agent)
    save_config(cfg, folder / "config.yaml")
    content = {"metadata": {"task": cfg.task}, "iteration": 1, "policy": policy.state_dict()}
    checkpoint.save(folder / "model_1.pt", content)
    return export_run(open_run(load_run=str(folder)), env, folder / "exported")


@pytest.fixture(scope="module")
def rough(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Export of a policy with a height scan."""
    return export_rough(rough_env("minimum"), tmp_path_factory.mktemp("rough"))


def put(robot: Robot, env: LeggedEnv) -> None:
    """Bring the robot into the environment's state."""
    engine = env.engine
    pose = torch.cat((engine.base_pos, engine.base_quat), 1)[0].double().numpy()
    velocity = torch.cat((engine.base_lin_vel, engine.base_ang_vel), 1)[0].double().numpy()
    robot.place(pose, velocity, engine.joint_pos[0].double().numpy(), engine.joint_vel[0].double().numpy())
    robot.command, robot.action = env.command[0].double().numpy(), env.action[0].double().numpy()


@pytest.mark.parametrize("lookup", ["minimum", "bilinear"])
def test_observation_on_bumps_is_the_environments(lookup: str, tmp_path: Path) -> None:
    env = rough_env(lookup)
    facts, _ = sim2sim_robot.load_policy(export_rough(env, tmp_path))
    robot = Robot(facts, MJCF, Field(bumps(), 0.1))
    tilt, scans = 0.0, []
    for seed in range(6):
        obs = env.reset(seed=seed)[0]["policy"]
        for _ in range(8):
            put(robot, env)
            np.testing.assert_allclose(robot.observe(), obs[0], atol=1e-5)
            tilt = max(tilt, 1.0 - robot.rotation[2, 2])
            scans.append(robot.observe()[48:])
            obs = env.step(torch.randn(1, 12))[0]["policy"]
    assert tilt > 0.001 and np.ptp(scans, axis=1).min() > 0.2  # metres x 5: the ground is seen uneven


def test_first_steps_on_bumps_agree_with_the_environment(rough: Path) -> None:
    facts, act = sim2sim_robot.load_policy(rough)
    env = rough_env("minimum")
    robot = Robot(facts, MJCF, Field(bumps(), 0.1), 2 * facts["timestep"])
    obs = env.reset(seed=3)[0]["policy"]
    put(robot, env)
    touched = 0.0  # N
    for _ in range(10):
        np.testing.assert_allclose(robot.observe()[:48], obs[0, :48], atol=1e-4)
        action = act(robot.observe())
        obs = env.step(torch.from_numpy(action)[None])[0]["policy"]
        robot.step(action)
        touched = max(touched, env.engine.contact_force[0, :4, 2].sum().item())
    assert touched > 1.0


def test_ground_lies_where_the_heights_say(rough: Path) -> None:
    """Rays from above meet MuJoCo's ground at the heights of the map's vertices: x and y are not swapped."""
    facts, _ = sim2sim_robot.load_policy(rough)
    robot = Robot(facts, MJCF, Field(bumps(), 0.1))
    mujoco.mj_forward(robot.model, robot.data)
    for i, j in ((3, 2), (55, 5), (50, 36), (10, 30)):
        above = np.array([(i - 30) * 0.1, (j - 20) * 0.1, 5.0])
        geom = np.zeros(1, dtype=np.int32)
        distance = mujoco.mj_ray(
            robot.model, robot.data, above, np.array([0.0, 0.0, -1.0]), None, 1, -1, geom
        )
        assert 5.0 - distance == pytest.approx(bumps()[i, j], abs=1e-3)


def test_scan_of_a_plane_is_the_height_of_the_base(rough: Path) -> None:
    facts, _ = sim2sim_robot.load_policy(rough)
    robot = Robot(facts, MJCF)
    robot.reset(np.random.default_rng(0))
    np.testing.assert_allclose(robot.observe()[48:], 5.0 * 0.1)  # 0.6 m - 0.5 m, scale 5


def test_course_of_a_shape_is_the_trainings_tile(rough: Path) -> None:
    facts, _ = sim2sim_robot.load_policy(rough)
    course = shape_course("stairs_up", 0.4, facts["terrain"], seed=1)
    terrain = single_terrain("stairs_up", 0.4)
    offsets = np.random.default_rng(0).uniform(-4.0, 4.0, (50, 2))
    expected = terrain.ground.height_at(terrain.origins[0, 0, :2] + offsets)
    for x, y, z in course.starts:
        assert z == pytest.approx(terrain.origins[0, 0, 2])
        found = [
            replace(course.field, boxes=boxes).look_up(x + offsets[:, 0], y + offsets[:, 1], "bilinear")
            for boxes in (True, False)
        ]
        np.testing.assert_allclose(found[0], expected, atol=1e-6)
        # without boxes there is a slope between two steps
        assert np.mean(np.abs(found[1] - expected) < 1e-5) > 0.6 and np.abs(found[1] - expected).max() < 0.13


def blocks() -> np.ndarray:
    """Level ground of seven blocks of three heights that overlap, m, [30, 20]."""
    heights, rng = np.zeros((30, 20)), np.random.default_rng(0)
    for _ in range(7):
        i, j = rng.integers((24, 14))
        heights[i : i + 6, j : j + 6] = 0.1 * rng.integers(-1, 3)
    return heights


def on_boxes(heights: np.ndarray, spheres: Iterable[tuple[float, float]] = ()) -> mujoco.MjModel:
    """Ground of cells of 0.1 m on boxes, and balls with a radius of 3 cm, 5 cm above it, at these x and y."""
    spec, field = mujoco.MjSpec(), Field(heights, 0.1, boxes=True)
    field.add_to(spec)
    for x, y in spheres:
        top = field.look_up(np.array([x]), np.array([y]), "bilinear")[0]
        ball = spec.worldbody.add_body(pos=[x, y, top + 0.08])
        ball.add_freejoint()
        ball.add_geom(type=mujoco.mjtGeom.mjGEOM_SPHERE, size=[0.03, 0, 0])
    return spec.compile()


def test_boxes_are_the_ground_of_training() -> None:
    model, training = on_boxes(blocks()), HeightField.centred(blocks(), 0.1, 0.75)
    field = Field(blocks(), 0.1, boxes=True)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    geom = np.zeros(1, dtype=np.int32)
    for i, j in np.ndindex(29, 19):
        for side in (0.001, 0.099):
            x, y = (i - 14.5) * 0.1 + side, (j - 9.5) * 0.1 + 0.1 - side
            above, down = np.array([x, y, 5.0]), np.array([0.0, 0.0, -1.0])
            height = 5.0 - mujoco.mj_ray(model, data, above, down, None, 1, -1, geom)
            assert height == pytest.approx(training.height_at(np.array([x, y])), abs=1e-7)
            for rule in ("minimum", "bilinear"):
                assert height == pytest.approx(field.look_up(np.array([x]), np.array([y]), rule)[0], abs=1e-9)


def test_balls_rest_on_the_treads_of_box_stairs() -> None:
    """Treads are 0.3 m wide: a ball rests 4 cm beyond each riser, another 4 cm before it."""
    tile, step = make_tile("stairs_up", 0.5, 8.0, 0.1, np.random.default_rng(0)), 0.14
    near_edges = [(x + side, 0.0) for x in (1.55, 1.85, 2.15) for side in (-0.04, 0.04)]
    model = on_boxes(tile, near_edges)
    data = mujoco.MjData(model)
    for _ in range(500):
        mujoco.mj_step(model, data)
    heights = data.geom_xpos[model.ngeom - 6 :, 2] - tile.min() - 0.03
    np.testing.assert_allclose(heights, step * np.array([0, 1, 1, 2, 2, 3]), atol=2e-3)


def test_stairs_take_a_few_boxes() -> None:
    """One for each side of a step that robots climb outwards, one for each step of a pyramid."""
    rng = np.random.default_rng(0)
    up, down = (make_tile(name, 0.5, 8.0, 0.1, rng) for name in ("stairs_up", "stairs_down"))
    steps = len(np.unique(up.round(6))) - 1
    # the last step up, at the tile's edge, is one vertex wide: no cell is as high
    assert on_boxes(up).ngeom == 4 * (steps - 1) + 1 and on_boxes(down).ngeom == steps + 1


@pytest.mark.parametrize("shape", sim2sim_ground.LEVEL)
def test_every_level_shape_stands_on_boxes(shape: str) -> None:
    assert on_boxes(make_tile(shape, 0.5, 8.0, 0.1, np.random.default_rng(0))).ngeom > 1


@pytest.mark.parametrize("shape", ["slope_up", "random_rough", "waves"])
def test_sloping_ground_does_not_stand_on_boxes(
    shape: str, rough: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--policy", str(rough), "--terrain", shape, "--ground", "boxes"]) == 2
    error = capsys.readouterr().err
    assert "needs level ground with edges, such as stairs_up" in error and error.count("\n") == 1


def test_robot_stands_on_boxes_as_on_a_plane(rough: Path) -> None:
    facts, _ = sim2sim_robot.load_policy(rough)
    course = shape_course("stairs_down", 0.8, facts["terrain"], seed=1)
    (x, y, top), settled = course.starts[1], []
    for field, start in ((None, (0.0, 0.0, 0.0)), (replace(course.field, boxes=True), (x, y, top))):
        robot = Robot(facts, MJCF, field)
        robot.reset(np.random.default_rng(0), np.array(start), 0.3)
        assert not any(robot.step(np.zeros(12))[0] for _ in range(50))
        settled.append(robot.base_pos[2] - start[2])
    assert top > 0.5 and settled[0] == pytest.approx(settled[1], abs=1e-4)


def test_file_course_starts_in_the_middle(tmp_path: Path) -> None:
    np.save(tmp_path / "hill.npy", bumps())
    course = file_course(tmp_path / "hill.npy", 0.1)
    np.testing.assert_allclose(course.starts, [[0.0, 0.0, bumps()[20:40, 10:30].max()]], atol=1e-9)
    middle = course.field.look_up(np.array([0.0]), np.array([0.0]), "bilinear")
    np.testing.assert_allclose(middle, bumps()[30, 20])


@pytest.mark.parametrize("ground", ["shape", "file", "boxes"])
def test_command_line_on_terrain(
    ground: str, rough: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "hill.npy", bumps())
    chosen = ["--terrain", "stairs_up", "--difficulty", "0.3"]
    if ground == "file":
        chosen = ["--heights", str(tmp_path / "hill.npy"), "--cell", "0.1"]
    elif ground == "boxes":
        chosen += ["--ground", "boxes"]
    args = ["--policy", str(rough), "--episodes", "2", "--seconds", "2", "--threads", "1", *chosen]
    assert main([*args, "--json", str(tmp_path / "figures.json")]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    line = {key: float(value) for key, value in (pair.split("=") for pair in last.split())}
    report = json.loads((tmp_path / "figures.json").read_text())
    assert {"success", "falls", "lin_vel_error", "cost_of_transport"} == line.keys()
    assert report["success"] == 0.0 and report["intervals"]["success"][1] == pytest.approx(0.658, abs=1e-3)
    assert report["terrain"] == ("hill.npy" if ground == "file" else "stairs_up")
    assert report["ground"] == ("boxes" if ground == "boxes" else "heightfield")


def test_success_is_to_get_far_enough_in_time(rough: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A robot that is thrown at up to 0.5 m/s gets 2 cm far, not 4 m."""
    facts, _ = sim2sim_robot.load_policy(rough)
    course = shape_course("flat", 0.0, facts["terrain"], 1)
    assert not np.isfinite(sim2sim_episodes.walk_all(rough, MJCF, course, 0.01, 2, 2.0, 1, 1).time).any()
    monkeypatch.setattr(sim2sim_episodes, "DISTANCE", 0.02)
    walks = sim2sim_episodes.walk_all(rough, MJCF, course, 0.01, 2, 2.0, 1, 1)
    assert (walks.time < 1.0).all() and not walks.fell.any() and (walks.path >= 0.02).all()


def test_figures_of_known_walks() -> None:
    """Ten robots: six got there after 6 s, one fell, three were too slow."""
    time = np.where(np.arange(10) < 6, 6.0, np.inf)
    walks = sim2sim_episodes.Walks(
        time, np.arange(10) == 6, np.full(10, 0.2), np.full(10, 60.0), np.full(10, 2.0)
    )
    found = walk_figures(walks, weight=100.0)
    success = found["success"]  # Wilson's interval for 6 of 10
    assert (success.value, success.low, success.high) == pytest.approx((0.6, 0.3127, 0.8318), abs=1e-3)
    values = {name: figure.value for name, figure in found.items() if name != "success"}
    assert values == pytest.approx(
        {"falls": 0.1, "time": 6.0, "lin_vel_error": 0.2, "cost_of_transport": 0.3}
    )


def test_export_without_terrain_facts_is_one_sentence(
    exported: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit(exported, lambda facts: facts.pop("terrain"))
    assert main(["--policy", str(exported), "--terrain", "pit"]) == 2
    assert "has no 'terrain', which a terrain needs; export the policy again" in capsys.readouterr().err


def spoil_json(folder: Path) -> None:
    (folder / "policy.json").write_text('{"format": "trot-pol')


def spoil_onnx(folder: Path) -> None:
    path = folder / "policy.onnx"
    path.write_bytes(path.read_bytes()[:200])


def rename(facts: dict[str, Any]) -> None:
    facts["observations"][0]["function"] = "lidar"


SPOILED = [
    (shutil.rmtree, "is not a folder nor in policies/"),
    (lambda folder: (folder / "policy.json").unlink(), "has no policy.json"),
    (lambda folder: (folder / "policy.onnx").unlink(), "has no policy.onnx"),
    (spoil_json, "policy.json is damaged"),
    (spoil_onnx, "policy.onnx is damaged"),
    (lambda folder: (folder / "policy.json").write_text("[]"), "its format is not trot-policy-1"),
    (lambda folder: edit(folder, lambda facts: facts.pop("stiffness")), "it lacks 'stiffness'"),
    (lambda folder: edit(folder, lambda facts: facts["damping"].pop()), "damping must be 12 finite numbers"),
    (lambda folder: edit(folder, lambda facts: facts.update(timestep=0)), "timestep must be greater than 0"),
    (lambda folder: edit(folder, lambda facts: facts["terrain"].pop("cell")), "it lacks 'cell'"),
    (lambda folder: edit(folder, rename), "observation 'lidar' is unknown"),
    (
        lambda folder: edit(folder, lambda f: f["golden"]["action"].reverse()),
        "does not give the golden action",
    ),
]


@pytest.mark.parametrize(("spoil", "sentence"), SPOILED, ids=[sentence for _, sentence in SPOILED])
def test_spoiled_export_is_one_sentence(
    spoil: Callable[[Path], Any], sentence: str, exported: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(exported)
    assert main(["--policy", str(exported)]) == 2
    error = capsys.readouterr().err
    assert sentence in error and error.startswith("sim2sim.py: ") and error.count("\n") == 1


def remove_joint(root: ElementTree.Element) -> None:
    leg = base_of(root).find("body")
    assert leg is not None
    joint = leg.find("joint")
    assert joint is not None and joint.get("name") == "LF_HAA"
    leg.remove(joint)


def remove_geom(root: ElementTree.Element) -> None:
    base = base_of(root)
    base.remove(next(geom for geom in base.findall("geom") if geom.get("name") == "base_3"))


def fix_base(root: ElementTree.Element) -> None:
    base = base_of(root)
    joint = base.find("freejoint")
    if joint is None:
        joint = next(joint for joint in base.findall("joint") if joint.get("type") == "free")
    base.remove(joint)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (remove_joint, "has no hinge joint LF_HAA for this policy"),
        (remove_geom, "has no geom base_3 for this policy"),
        (fix_base, "has no free joint"),
        (lambda root: root.append(ElementTree.Element("nonsense")), "is not a valid MJCF file"),
    ],
)
def test_unfit_model_is_one_sentence(
    change: Callable[[ElementTree.Element], None],
    sentence: str,
    run_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = edit_mjcf(tmp_path / "model.xml", change)
    assert main(["--policy", str(run_folder / "exported"), "--model", str(model)]) == 2
    error = capsys.readouterr().err
    assert sentence in error and error.count("\n") == 1


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (["--model", "/nowhere.xml"], "model /nowhere.xml does not exist"),
        (["--episodes", "0"], "--episodes must be at least 1"),
        (["--seconds", "nan"], "--seconds must be at least 2"),
        (["--json", "/nowhere/x.json"], "the folder does not exist"),
        (["--epsiodes", "3"], "unknown flag --epsiodes. Did you mean --episodes?"),
        (["--terain", "pit"], "unknown flag --terain. Did you mean --terrain?"),
        (["--terrain", "stairs_upp"], "unknown terrain shape 'stairs_upp'; choose from"),
        (["--terrain", "stairs_upp"], "Did you mean stairs_up"),
        (["--terrain", "pit", "--difficulty", "2"], "difficulty must lie in 0 to 1, not 2"),
        (["--terrain", "pit", "--heights", "x.npy"], "give one of them"),
        (["--difficulty", "0.5"], "--difficulty needs --terrain"),
        (["--cell", "0.1"], "--cell needs --heights"),
        (["--heights", "x.npy", "--cell", "0"], "--cell must be a positive length"),
        (["--contact_time", "0.02"], "--contact_time needs --terrain or --heights"),
        (["--ground", "boxes"], "--ground needs --terrain or --heights"),
        (["--terrain", "pit", "--ground", "box"], "invalid choice: 'box'"),
        (["--terrain", "pit", "--contact_time", "0.001"], "must be at least two physics steps (0.01 s)"),
        (["--heights", "/nowhere.npy"], "--heights /nowhere.npy cannot be read"),
    ],
)
def test_bad_flags_are_one_sentence(
    args: list[str], sentence: str, run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--policy", str(run_folder / "exported"), *args]) == 2
    error = capsys.readouterr().err
    assert sentence in error and error.count("\n") == 1
