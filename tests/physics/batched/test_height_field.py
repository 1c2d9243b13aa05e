"""The batched engine on height fields, beside its eager reference, a plane and MuJoCo."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest
import torch
from torch import Tensor

from physics import BatchedEngine, MujocoEngine, UnsupportedModel, build_scene, make_engine, scene
from physics.batched import eager
from physics.batched.records import SphereInputs
from physics.batched.surface import height_field
from robots import ANYMAL_C
from terrains import Ground, HeightField, Plane
from tests.physics.batched.common import STANCE, Cases, EagerRobot, engine_step, take_cases
from tests.physics.common import everyone, live, stance

CELLS = (0.05, 0.1)
FEET = slice(0, 4)
"""Rows of `contact_force` that are feet."""
RADIUS = 0.03
"""Of a foot, m."""


def make(ground: Ground, num_envs: int, num_threads: int = 1) -> BatchedEngine:
    return BatchedEngine(ANYMAL_C, ground, num_envs, num_threads=num_threads)


def grid(cell: float, size_x: float = 12.0, size_y: float = 8.0) -> np.ndarray:
    """World x and y of the vertices of a centred map, [2, nx, ny]."""
    nx, ny = round(size_x / cell), round(size_y / cell)
    i, j = np.indices((nx + 1, ny + 1))
    return cell * np.stack((i - nx / 2, j - ny / 2))


def rough(cell: float, amplitude: float, slope_threshold: float = 0.0) -> HeightField:
    """Every vertex has a height of its own."""
    heights = np.random.default_rng(0).uniform(-amplitude, amplitude, grid(cell)[0].shape)
    return HeightField.centred(heights, cell, slope_threshold)


def uniform(*shape: int, seed: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def put(
    engine: BatchedEngine | MujocoEngine,
    pos: Tensor,
    quat: Tensor | None = None,
    velocity: Tensor | None = None,
) -> None:
    """All robots into the stance; level and at rest unless said otherwise."""
    n = engine.num_envs
    quat = torch.tensor([1.0, 0.0, 0.0, 0.0]).repeat(n, 1) if quat is None else quat
    velocity = torch.zeros(n, 3) if velocity is None else velocity
    engine.write_state(
        everyone(engine), pos, quat, velocity, torch.zeros(n, 3), stance(engine), torch.zeros(n, 12)
    )


def above(ground: HeightField, xy: Tensor, height: float) -> Tensor:
    """Base positions so much above the ground, [N, 3]."""
    return torch.cat((xy, ground.height_at(xy).unsqueeze(1) + height), 1)


def clearance(engine: BatchedEngine | MujocoEngine, ground: HeightField) -> Tensor:
    """Height of the feet's centres above the ground, m, [N, F]."""
    return engine.foot_pos[..., 2] - ground.height_at(engine.foot_pos[..., :2].contiguous())


def trot(engine: BatchedEngine, i: int, phase: Tensor) -> Tensor:
    """Targets of a trot in place at 2 Hz, [N, A]."""
    legs = torch.tensor([0, 0.3, -0.5, 0, -0.3, 0.5, 0, 0.3, -0.5, 0, -0.3, 0.5])
    return stance(engine) + torch.sin(4 * torch.pi * 0.02 * i + phase) * legs


# ---------------------------------------------------------------------- one step


@pytest.mark.parametrize(
    "cell, amplitude, threshold", [(0.05, 0.02, 0.0), (0.05, 0.05, 0.0), (0.1, 0.1, 0.0), (0.1, 0.1, 0.75)]
)
@pytest.mark.parametrize("precision", [torch.float64, torch.float32])
def test_generated_code_steps_like_eager(
    cell: float, amplitude: float, threshold: float, precision: torch.dtype
) -> None:
    ground, count = rough(cell, amplitude, threshold), 150
    model = build_scene(ANYMAL_C, rough(cell, amplitude))
    cases = take_cases(model, count, seed=1, stance=STANCE, steps=20, single_precision=True)
    friction = 0.2 + uniform(count, seed=1)
    robot, engine = EagerRobot(model, precision), make(ground, count)
    engine.set_params(everyone(engine), friction=friction)
    qvel = engine_step(engine, cases)
    inputs = robot.inputs(cases)
    for group in (*inputs.spheres, inputs.base_spheres):
        group[:] = [_with_friction(sphere, friction.to(precision)) for sphere in group]
    solver = eager.EXACT if precision == torch.float64 else eager.Solver()
    state, report = eager.step(robot.robot, robot.state(cases), inputs, height_field(ground), solver)
    expected = robot.arrays(state)[1]
    error = np.abs(qvel - expected).max(1) / np.abs(expected - cases.qvel).max(1)
    assert np.median(error) < 1e-5 and np.quantile(error, 0.99) < 1e-4 and error.max() < 2e-3

    forces = robot.by_geom(report)
    expected = np.stack([forces[:, geoms].sum(1) for geoms in _groups(model)], 1)
    found = engine.contact_force.double().numpy()
    scale = np.abs(expected).max((1, 2), keepdims=True) + 1.0
    error = np.abs(found - expected) / scale
    assert np.quantile(error.max((1, 2)), 0.99) < 1e-3
    touching, expected_touching = (np.abs(x).max(2) > 1e-3 * scale[..., 0] for x in (found, expected))
    assert (touching != expected_touching).mean() < 1e-3
    assert expected_touching.any(0).all() and (expected_touching.sum(1) > 3).mean() > 0.3


def _with_friction(sphere: SphereInputs, friction: Tensor) -> SphereInputs:
    def factor(mu: Tensor) -> Tensor:
        return 2.0 * mu * mu * (1.0 + mu * mu)

    return SphereInputs(friction, sphere.weight * factor(sphere.friction) / factor(friction))


def _groups(model: mujoco.MjModel) -> list[list[int]]:
    """The geoms of each contact group."""
    found: dict[str, list[int]] = {}
    for i in range(model.nsensor):
        _, group, geom = model.sensor(i).name.split("/")
        found.setdefault(group, []).append(model.geom(geom).id)
    return list(found.values())


@pytest.mark.parametrize("slope", [(0.0, 0.0), (0.2, 0.1), (-0.5, 0.6)])
def test_a_step_on_a_slope_is_that_of_mujoco(slope: tuple[float, float]) -> None:
    x, y = grid(2.0)
    ground = HeightField.centred(slope[0] * x + slope[1] * y, 2.0)
    model = build_scene(ANYMAL_C, ground)
    model.opt.tolerance, model.opt.ccd_tolerance, model.opt.ccd_iterations = 1e-13, 1e-12, 200
    rise = np.hypot(*slope)
    cases = take_cases(
        model, 250, seed=1, stance=STANCE, steps=100, speed=1.0, single_precision=True,
        heights=(0.65 + 0.5 * rise, 0.8 + 0.8 * rise),
    )  # fmt: skip
    plain = _has_one_contact_per_sphere(cases, ground, slope)
    assert (plain & (cases.contacts > 0)).sum() > 40
    robot = EagerRobot(model)
    state, _ = eager.step(
        robot.robot, robot.state(cases), robot.inputs(cases), height_field(ground), eager.EXACT
    )
    # a sloping map's heights are float32 numbers in MuJoCo too, but others
    assert cases.error(robot.arrays(state)[1])[plain].max() < (3e-4 if rise else 1e-11)
    error = cases.error(engine_step(make(ground, 250), cases))[plain]
    assert np.quantile(error, 0.99) < 1e-4 and error.max() < 2e-3


def _has_one_contact_per_sphere(cases: Cases, ground: HeightField, slope: tuple[float, float]) -> np.ndarray:
    """Whether MuJoCo's contacts are those of an infinite plane: near an edge of triangles it has several, [N]."""
    model, data, found = cases.model, mujoco.MjData(cases.model), []
    normal = np.array([-slope[0], -slope[1], 1.0]) / np.linalg.norm([*slope, 1.0])
    spheres = np.flatnonzero(model.geom_type == mujoco.mjtGeom.mjGEOM_SPHERE)
    for qpos in cases.qpos:
        data.qpos[:] = qpos
        mujoco.mj_kinematics(model, data)
        mujoco.mj_collision(model, data)
        centres = data.geom_xpos[spheres]
        height = (centres[:, 2] - ground.height_at(centres[:, :2])) * normal[2]
        dist = dict(zip(spheres, height - model.geom_size[spheres, 0], strict=True))
        expected = {geom: d for geom, d in dist.items() if d < 0}
        found.append(
            height.min() > 0
            and sorted(data.contact.geom[: data.ncon, 1]) == sorted(expected)
            and all(
                abs(c.dist - expected[c.geom[1]]) < 1e-6 and np.abs(c.frame[:3] - normal).max() < 1e-5
                for c in data.contact[: data.ncon]
            )
        )
    return np.array(found)


# ---------------------------------------------------------------------- standing and walking


@pytest.fixture
def as_soft_as_planes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Contacts with MuJoCo's default time constant of 0.02 s, in which robots bounce less."""
    monkeypatch.setattr(scene, "STEPS_TO_RECOVER", 4)


@pytest.mark.parametrize("height", [0.0, 0.37])
@pytest.mark.parametrize("cell", CELLS)
def test_a_flat_field_is_a_plane(cell: float, height: float, as_soft_as_planes: None) -> None:
    count = 32
    ground = HeightField.centred(np.full(grid(cell)[0].shape, height), cell)
    engines = make(Plane(), count), make(ground, count)
    quat = torch.tensor([1.0, 0.0, 0.0, 0.0]) + 0.1 * (uniform(count, 4, seed=2) - 0.5)
    for engine, z in zip(engines, (0.0, height), strict=True):
        pos = torch.cat((4 * uniform(count, 2, seed=1) - 2, torch.full((count, 1), 0.6 + z)), 1)
        put(engine, pos, quat)
    for i in range(50):
        for engine in engines:
            engine.step(trot(engine, i, 6 * uniform(count, 1, seed=3)), 4)
    plane, field = (live(engine) for engine in engines)
    assert (plane["base_pos"][:, :2] - pos[:, :2]).norm(dim=1).median() > 0.05  # they do walk
    shift = torch.tensor([0.0, 0.0, height])
    for name, bound in (("base_pos", 1e-5), ("foot_pos", 2e-5), ("joint_pos", 5e-5), ("base_lin_vel", 1e-3)):
        moved = field[name] - (shift if name in ("base_pos", "foot_pos") else 0.0)
        torch.testing.assert_close(moved, plane[name], atol=bound, rtol=0)
    torch.testing.assert_close(field["contact_force"], plane["contact_force"], atol=0.5, rtol=0)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("rise", [0.1, 0.2])
@pytest.mark.parametrize("shape", ["front", "quarter"])
def test_feet_stand_as_high_as_in_mujoco(cell: float, rise: float, shape: str) -> None:
    x, y = grid(cell, 6.0, 4.0)
    upper = (x > 1e-6) & ((y > 1e-6) | (shape == "front"))
    ground, count = HeightField.centred(rise * upper, cell), 8
    pos = 0.1 * uniform(count, 3, seed=0) - 0.05
    pos[:, 2] = 0.62 + rise / 2
    lean = (
        (0.0, -rise / 1.5) if shape == "front" else (rise / 2, -rise / 3)
    )  # half of the slope below the feet
    quat = torch.tensor([1.0, *lean, 0.0]).repeat(count, 1)
    engines = make(ground, count), MujocoEngine(ANYMAL_C, ground, count, num_threads=1)
    for engine in engines:
        put(engine, pos, quat)
        for _ in range(75):
            engine.step(stance(engine), 4)
    ours, theirs = (clearance(engine, ground) for engine in engines)
    torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=0)
    assert (ours < RADIUS).all() and (ours > RADIUS - 2e-3).all()
    assert (ground.height_at(engines[0].foot_pos[:, 0, :2].contiguous()) == np.float32(rise)).all()
    weight = float(engines[0].total_mass[0]) * 9.81
    torch.testing.assert_close(
        engines[0].contact_force[:, FEET, 2].sum(1), torch.full((count,), weight), atol=0.05 * weight, rtol=0
    )


@pytest.mark.parametrize("cell", CELLS)
def test_contacts_are_where_the_map_says(cell: float) -> None:
    # 4 x 3 tiles of their own height on a map of 12 m x 8 m that is not centred; a robot in the middle of each
    tiles = np.random.default_rng(4).permutation(12).reshape(4, 3) * 0.31
    x, y = grid(cell)
    i, j = np.minimum((x + 6) // 3, 3).astype(int), np.minimum((y + 4) // (8 / 3), 2).astype(int)
    ground = HeightField(tiles[i, j], cell, (1.5, -20.0))
    centres = np.stack(np.meshgrid([1.5, 4.5, 7.5, 10.5], [4 / 3, 4.0, 20 / 3], indexing="ij"), -1).reshape(
        -1, 2
    )
    engine = make(ground, 12)
    put(engine, above(ground, torch.tensor(centres + ground.origin, dtype=torch.float32), 0.62))
    for _ in range(50):
        engine.step(stance(engine), 4)
    expected = torch.tensor(tiles.ravel(), dtype=torch.float32)
    torch.testing.assert_close(
        engine.foot_pos[..., 2], (expected + RADIUS).unsqueeze(1).repeat(1, 4), atol=2e-3, rtol=0
    )
    assert (engine.contact_force[:, FEET, 2] > 50).all()


# ---------------------------------------------------------------------- risers and walls


def centres_of(engine: BatchedEngine) -> np.ndarray:
    """Centres of all spheres, from MuJoCo's kinematics, [N, S, 3]."""
    model, found = engine.model, []
    data = mujoco.MjData(model)
    spheres = [s.geom for s in engine.robot_model.spheres]
    for qpos in torch.cat((engine.base_pos, engine.base_quat, engine.joint_pos), 1).double().numpy():
        data.qpos[:] = qpos
        mujoco.mj_kinematics(model, data)
        found.append(data.geom_xpos[spheres])
    return np.array(found)


def throw(engine: BatchedEngine, direction: np.ndarray, speed: float) -> None:
    """Robots a metre before the origin, flying towards it, each a little different."""
    n = engine.num_envs
    random = uniform(n, 5, seed=0)
    ahead = torch.tensor(direction, dtype=torch.float32)
    aside = torch.stack((-ahead[1], ahead[0]))
    pos = torch.zeros(n, 3)
    pos[:, :2] = -(0.75 + 0.3 * random[:, :1]) * ahead + (random[:, 1:2] - 0.5) * aside
    pos[:, 2] = 0.57 + 0.1 * random[:, 2]
    half = (torch.atan2(ahead[1], ahead[0]) + 0.6 * (random[:, 3] - 0.5)) / 2
    quat = torch.stack((half.cos(), 0 * half, 0 * half, half.sin()), 1)
    put(engine, pos, quat, torch.cat((speed * ahead.repeat(n, 1), -random[:, 4:]), 1))


AXES = [(1.0, 0.0), (-1.0, 0.0), (0.0, 1.0), (0.0, -1.0)]
RISERS = [("step", direction) for direction in [*AXES, (1.0, 1.0), (1.0, -1.0), (-2.0, 1.0)]]
WALLS = [("wall", direction) for direction in AXES]  # one vertex thick


@pytest.mark.parametrize("cell, rise", [(0.05, 0.1), (0.05, 0.2), (0.1, 0.1), (0.1, 0.2)])
@pytest.mark.parametrize("kind, direction", RISERS + WALLS)
def test_nothing_enters_a_riser(kind: str, direction: tuple[float, float], cell: float, rise: float) -> None:
    ahead = np.array(direction) / np.linalg.norm(direction)
    x, y = grid(cell, 8.0, 7.0)
    distance = ahead[0] * x + ahead[1] * y
    upper = distance > 1e-6 if kind == "step" else np.abs(distance) < 1e-6
    ground = HeightField.centred(rise * upper, cell)
    engine = make(ground, 16)
    throw(engine, ahead, speed=2.0)
    farthest, before = 0.0, np.full(1, np.inf)
    for _ in range(90):
        engine.step(stance(engine), 1)
        centres = centres_of(engine)
        assert (centres[..., 2] - ground.height_at(centres[..., :2].copy())).min() > 0.2 * RADIUS
        beyond = centres[..., :2] @ ahead
        assert kind == "step" or not ((before <= 0) & (beyond > 0) & (centres[..., 2] < rise)).any()
        before, farthest = beyond, max(farthest, beyond.max())
    assert farthest > 0.2  # over the riser, with legs before it
    assert (engine.base_lin_vel.norm(dim=1) < 2.0).all() and not engine.bad.any()


@pytest.mark.parametrize("cell", CELLS)
def test_what_a_fast_robot_pushes_into_a_riser_comes_out(cell: float) -> None:
    ground = HeightField.centred(0.2 * (grid(cell, 8.0, 7.0)[0] > 1e-6), cell)
    engine = make(ground, 32)
    throw(engine, np.array([1.0, 0.0]), speed=6.0)
    lowest = np.inf
    for _ in range(150):
        engine.step(stance(engine), 1)
        centres = centres_of(engine)
        clear = centres[..., 2] - ground.height_at(centres[..., :2].copy())
        lowest = min(lowest, clear.min())
    assert lowest < 0 < clear.min()
    assert (engine.base_lin_vel.norm(dim=1) < 6.0).all() and not engine.bad.any()


# ---------------------------------------------------------------------- robots apart


CROWD = 70


def scatter(engine: BatchedEngine, ground: HeightField, rows: Tensor) -> Tensor:
    """Some of a crowd of robots of all poses on the map; returns their targets, [N, A]."""
    pos = above(ground, (uniform(CROWD, 2, seed=1) - 0.5) * torch.tensor([10.0, 6.0]), 0.4)
    quat = torch.tensor([1.0, 0.0, 0.0, 0.0]) + 2 * (uniform(CROWD, 4, seed=2) - 0.5)
    lin, ang = 2 * uniform(CROWD, 3, seed=3) - 1, 2 * uniform(CROWD, 3, seed=4) - 1
    angles = torch.tensor(STANCE, dtype=torch.float32) + 0.4 * (uniform(CROWD, 12, seed=5) - 0.5)
    state = pos, quat, lin, ang, angles, torch.zeros(CROWD, 12)
    engine.write_state(everyone(engine), *(x[rows] for x in state))
    return angles[rows]


@pytest.mark.parametrize("cell", CELLS)
def test_results_do_not_depend_on_neighbours_or_threads(cell: float, as_soft_as_planes: None) -> None:
    ground, everybody = rough(cell, 0.06), torch.arange(CROWD)
    shuffled = torch.randperm(CROWD, generator=torch.Generator().manual_seed(0))

    def run(rows: Tensor, threads: int) -> dict[str, Tensor]:
        engine = make(ground, len(rows), threads)
        targets = scatter(engine, ground, rows)
        for _ in range(20):
            engine.step(targets, 4)
        return live(engine)

    expected = run(everybody, 1)
    assert ((expected["contact_force"].norm(dim=2) > 0).sum(1) > 1).sum() > CROWD / 2
    for rows, threads in ((everybody, 3), (shuffled, 1), (shuffled[:17], 2), (everybody[33:34], 1)):
        for name, tensor in run(rows, threads).items():
            assert torch.equal(tensor, expected[name][rows]), name


@pytest.mark.parametrize("cell", CELLS)
def test_lost_robots_harm_nobody(cell: float) -> None:
    ground, everybody = rough(cell, 0.06), torch.arange(CROWD)
    lost = {3: torch.nan, 17: torch.inf, 18: -torch.inf, 25: 1e30}
    results = []
    for spoil in (False, True):
        engine = make(ground, CROWD)
        targets = scatter(engine, ground, everybody)
        if spoil:
            for robot, value in lost.items():
                engine.base_pos[robot, robot % 3] = value
        for _ in range(10):
            engine.step(targets, 4)
        results.append(live(engine))
    rest = torch.ones(CROWD, dtype=torch.bool)
    rest[list(lost)] = False
    for name, tensor in results[0].items():
        assert torch.equal(tensor[rest], results[1][name][rest]), name
    assert results[1]["bad"][[3, 17, 18]].all() and not results[1]["bad"][rest].any()


def test_robots_beyond_the_border_fall() -> None:
    ground = HeightField.centred(0.1 + 0 * grid(0.1)[0], 0.1)
    places = [(6.5, 0), (-6.5, 0), (0, 4.5), (0, -4.5), (1e3, -1e3), (-1e5, 3.0), (1e9, 1e9), (0.0, 0.0)]
    engine = make(ground, len(places))
    xy = torch.tensor(places, dtype=torch.float32)
    put(engine, torch.cat((xy, torch.full((len(places), 1), 0.72)), 1))
    for _ in range(25):
        engine.step(stance(engine), 4)
    gone, there = engine.base_pos[:7], engine.base_pos[7]
    assert not engine.bad.any() and torch.isfinite(engine.base_pos).all()
    assert float(there[2]) == pytest.approx(0.6, abs=0.1)
    far = slice(4, 7)  # those at the border hold on to it with legs
    torch.testing.assert_close(gone[far, 2], torch.full((3,), 0.72 - 9.81 * 0.25 / 2), atol=0.02, rtol=0)
    assert not engine.contact_force[far].any()


# ---------------------------------------------------------------------- choosing the engine


def test_a_map_smaller_than_a_sphere_is_refused() -> None:
    tiny = HeightField.centred(np.zeros((5, 4)), 0.05)
    with pytest.raises(UnsupportedModel) as refusal:
        make(tiny, 1)
    text = str(refusal.value)
    assert "5 x 4 vertices is smaller than the 5 x 5 that the robot's largest sphere covers" in text
    assert "\n" not in text and ". " not in text
    with pytest.raises(ValueError, match="smaller than the 5 x 5"):
        make_engine("batched", ANYMAL_C, tiny, 1, 0.005, "cpu", 1)
    engine, why = make_engine("auto", ANYMAL_C, tiny, 1, 0.005, "cpu", 1)
    assert isinstance(engine, MujocoEngine) and "smaller than the 5 x 5" in why
    make(HeightField.centred(np.zeros((5, 5)), 0.05), 1).step(torch.zeros(1, 12), 4)


def test_auto_takes_the_batched_engine_on_height_fields() -> None:
    engine, why = make_engine("auto", ANYMAL_C, rough(0.1, 0.06), 2, 0.005, "cpu", 1)
    assert isinstance(engine, BatchedEngine) and why == "batched (the fastest for this robot)"
