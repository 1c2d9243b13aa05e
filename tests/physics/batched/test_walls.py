"""Spheres and robots against vertical walls: the batched engine beside brute force and MuJoCo."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import mujoco
import numpy as np
import pytest
import torch

from physics import BatchedEngine, MujocoEngine, build_scene
from physics.batched import eager, surface
from physics.batched.surface import height_field
from robots import ANYMAL_C
from terrains import HeightField
from tests.physics.batched.common import INSTRUCTION_SETS, STANCE, Cases, EagerRobot, engine_step, take_cases
from tests.physics.batched.cuda_emulation import generated
from tests.physics.batched.test_height_field import (
    RADIUS,
    above,
    centres_of,
    grid,
    make,
    put,
    throw,
    trot,
    uniform,
)
from tests.physics.batched.test_surface import Array, around, ball, nearest_points, touch
from tests.physics.common import live, stance

UP = np.array([0.0, 0.0, 1.0])


@pytest.fixture
def no_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Contacts as deep as they are."""
    monkeypatch.setattr(surface, "DEEPEST", np.inf)


def rough(seed: int, cell: float, amplitude: float) -> HeightField:
    """Independent heights: steep and flat sides in any order, walls that taper, also to both sides."""
    random = np.random.default_rng(seed)
    return HeightField(
        random.uniform(-amplitude, amplitude, (9, 11)), cell, tuple(random.uniform(-9, 9, 2)), 0.75
    )


def blocks(seed: int, cell: float = 0.1, rise: float = 0.2, side: int = 3) -> HeightField:
    """Squares of cells at two heights, with walls between them."""
    random = np.random.default_rng(seed)
    heights = (rise * random.integers(0, 2, (12 // side, 18 // side))).repeat(side, 0).repeat(side, 1)
    return HeightField(heights, cell, (2.0, -1.0), 0.75)


def step(rise: float, cell: float = 0.1, axis: int = 0, sign: int = 1) -> HeightField:
    """Level ground, and a wall across x = 0 (axis 0) or y = 0 up to a level that is higher by `rise`."""
    at = sign * cell * (np.arange(81) - 40)
    heights = np.broadcast_to(rise * (at > -1e-6)[:, None], (81, 81))
    return HeightField.centred(heights if axis == 0 else heights.T, cell, 0.75)


def faces(ground: HeightField) -> Array:
    """Triangles of all cells and walls, [T, 3 vertices, 3]; a wall that changes sides is two of them."""
    cell, c, found = ground.cell, ground.corners.astype(float), []

    def vertex(i: float, j: float, z: Any) -> Array:
        return np.array([ground.origin[0] + i * cell, ground.origin[1] + j * cell, z])

    for i, j in np.ndindex(c.shape[:2]):
        corner = {(a, b): vertex(i + a, j + b, c[i, j, a, b]) for a, b in np.ndindex(2, 2)}
        found += [[corner[0, 0], corner[k, 1 - k], corner[1, 1]] for k in (0, 1)]
        borders = [(c[i - 1, j, 1], c[i, j, 0], (0, 1))] if i else []
        borders += [(c[i, j - 1, :, 1], c[i, j, :, 0], (1, 0))] if j else []
        for near, far, (di, dj) in borders:
            first, last = near[0] - far[0], near[1] - far[1]
            parts = [0.0, first / (first - last), 1.0] if first * last < 0 else [0.0, 1.0]
            for s, t in zip(parts[:-1], parts[1:], strict=True):
                quad = [
                    vertex(i + u * di, j + u * dj, z[0] + u * (z[1] - z[0]))
                    for u, z in ((s, near), (t, near), (t, far), (s, far))
                ]
                found += [[quad[0], quad[1], quad[2]], [quad[0], quad[2], quad[3]]]
    triangles = np.array(found)
    area = np.linalg.norm(
        np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]), axis=1
    )
    return triangles[area > 1e-12]


def inside(ground: HeightField, points: Array, reach: float) -> Array:
    """Points whose spheres stay on the map."""
    low = np.array(ground.origin) + reach
    high = np.array(ground.origin) + ground.cell * (np.array(ground.heights.shape) - 1) - reach
    return points[((points[:, :2] > low) & (points[:, :2] < high)).all(1)]


# ---------------------------------------------------------------------- geometry


def test_the_first_slot_is_the_nearest_point(no_bound: None) -> None:
    errors = []
    for seed in range(150):
        random = np.random.default_rng(seed)
        cell, radius = random.choice([0.05, 0.1]), random.uniform(0.02, 0.12)
        ground = rough(seed, cell, random.choice([0.02, 0.05, 0.2])) if seed % 2 else blocks(seed, cell)
        points = inside(ground, around(ground, random, 100, 1e-4, 2 * radius), radius)
        first, second = touch(ground, points, radius)
        triangles = faces(ground)
        distance = np.linalg.norm(points[:, None] - nearest_points(points, triangles)[0], axis=2).min(1)
        clear = distance > 1e-4  # what lies on a line between cells may be below one of them
        assert (first.touches == (distance < radius))[clear & (np.abs(distance - radius) > 1e-4)].all()
        reached = clear & (distance < radius - 1e-4)
        errors += list((first.dist - (distance - radius))[reached])
        foot = (points - (first.dist + radius)[:, None] * first.normal)[reached]
        off = np.linalg.norm(foot[:, None] - nearest_points(foot, triangles)[0], axis=2).min(1)
        np.testing.assert_allclose(off, 0.0, atol=1e-7)
        assert (second.dist >= first.dist - 1e-12)[second.touches].all()
    # where a wall tapers to both sides, another point of the surface may be taken
    assert len(errors) > 3000 and np.mean(np.abs(errors) > 1e-8) < 1e-3 and np.max(np.abs(errors)) < 1e-3


@pytest.mark.parametrize("axis, sign", [(0, 1), (0, -1), (1, 1), (1, -1)])
def test_tread_wall_and_edge(axis: int, sign: int, no_bound: None) -> None:
    ground, radius, random = step(0.2, axis=axis, sign=sign), 0.03, np.random.default_rng(0)

    def look(x: Array, z: Array) -> tuple[Array, Array, Array, Array]:
        """Distances and normals of both slots; x grows towards the wall and through it."""
        points = np.column_stack((sign * x, random.uniform(-2, 2, len(x)), z))
        turn = [0, 1, 2] if axis == 0 else [1, 0, 2]
        slots = touch(ground, points[:, turn], radius)
        normals = [slot.normal[:, turn] * [sign, 1, 1] for slot in slots]
        return slots[0].dist, normals[0], slots[1].dist, normals[1]

    away, n = np.array([-1.0, 0.0, 0.0]), 200
    # in the inner corner: two contacts, the deeper first
    x, z = -random.uniform(0.005, 0.029, n), random.uniform(0.005, 0.029, n)
    d1, n1, d2, n2 = look(x, z)
    np.testing.assert_allclose((d1, d2), np.sort((-x, z), axis=0) - radius, atol=1e-7)
    np.testing.assert_allclose(n1, np.where((-x < z)[:, None], away, UP), atol=1e-7)
    np.testing.assert_allclose(n2, np.where((-x < z)[:, None], UP, away), atol=1e-7)
    # before the wall, and above either level: one
    for x, z, dist, normal in (
        (-random.uniform(0.001, 0.029, n), random.uniform(0.04, 0.199, n), lambda x, z: -x, away),
        (-random.uniform(0.04, 1.0, n), random.uniform(0.001, 0.029, n), lambda x, z: z, UP),
        (random.uniform(0.0, 1.0, n), random.uniform(0.201, 0.229, n), lambda x, z: z - 0.2, UP),
    ):
        d1, n1, d2, _ = look(x, z)
        np.testing.assert_allclose(d1, dist(x, z) - radius, atol=1e-7)
        np.testing.assert_allclose(n1, np.tile(normal, (n, 1)), atol=1e-6)
        assert (d2 > 0).all()
    # round the upper edge: one, away from the edge
    angle, r = random.uniform(np.pi / 2, np.pi, n), random.uniform(0.002, 0.029, n)
    d1, n1, d2, _ = look(r * np.cos(angle), 0.2 + r * np.sin(angle))
    np.testing.assert_allclose(d1, r - radius, atol=1e-7)
    np.testing.assert_allclose(n1, np.stack((np.cos(angle), 0 * angle, np.sin(angle)), 1), atol=1e-5)
    assert (d2 > 0).all()
    # sunk less than its radius: out through the wall or the upper level, whichever is nearer; else up
    x, z = random.uniform(0.001, 0.09, n), random.uniform(0.01, 0.199, n)
    d1, n1, d2, _ = look(x, z)
    out = (x < 0.2 - z) & (x < radius)
    near = (x < radius) | (x > 0.07)  # between these it depends on the cells that are looked at
    np.testing.assert_allclose(d1[near], (-np.where(out, x, 0.2 - z) - radius)[near], atol=1e-7)
    np.testing.assert_allclose(n1[near], np.where(out[:, None], away, UP)[near], atol=1e-5)
    assert (np.isclose(n1, away) | np.isclose(n1, UP)).all() and (d2 > 0).all()


def test_walls_meet_in_a_vertical_edge() -> None:
    heights = np.zeros((9, 9))
    heights[4:, 4:] = 0.3
    ground, radius = HeightField(heights, 0.1, (0.0, 0.0), 0.75), 0.03
    angles = np.radians(np.arange(181, 270))
    around_edge = 0.4 + 0.02 * np.column_stack((np.cos(angles), np.sin(angles)))
    first, second = touch(ground, np.column_stack((around_edge, np.full(len(angles), 0.15))), radius)
    np.testing.assert_allclose(first.dist, 0.02 - radius, atol=1e-9)
    np.testing.assert_allclose(first.normal[:, :2], (around_edge - 0.4) / 0.02, atol=1e-9)
    assert not second.touches.any()


@pytest.mark.parametrize("seed", range(4))
def test_the_coarse_map_bounds_every_contact(seed: int) -> None:
    ground, random, radius = (rough, blocks)[seed % 2](seed, 0.1, 0.2), np.random.default_rng(seed), 0.07
    coarse = surface.coarse_heights(ground, radius).numpy()
    points = inside(ground, around(ground, random, 1000, -radius, 2 * radius), 0.0)
    first, _ = touch(ground, points, radius)
    at = np.floor((points[:, :2] - ground.origin) / (surface.COARSE * ground.cell)).astype(int)
    assert (points[:, 2] - radius < coarse[tuple(at.T)])[first.touches].all() and first.touches.any()


def test_the_coarse_map_has_no_peak_that_stands_on_no_cell() -> None:
    heights = np.zeros((21, 21))
    heights[10, 10] = 1.0
    assert not surface.coarse_heights(HeightField(heights, 0.1, (0.0, 0.0), 0.75), 0.07).any()


@pytest.mark.parametrize("instruction_set", INSTRUCTION_SETS)
def test_every_instruction_set_steps_the_same(instruction_set: str) -> None:
    ground, n = step(0.2), 16
    engines = [
        BatchedEngine(ANYMAL_C, ground, n, num_threads=1, instruction_set=name)
        for name in ("native", instruction_set)
    ]
    for engine in engines:
        put(engine, above(ground, 0.4 * uniform(n, 2, seed=0) - 0.2, 0.45))
        engine.step(stance(engine), 1)
    for name, tensor in live(engines[0]).items():
        if name != "bad":
            scale = float(tensor.abs().max())
            torch.testing.assert_close(live(engines[1])[name], tensor, atol=1e-3 * scale, rtol=0)


def test_ground_without_steep_sides_is_stepped_by_the_same_code() -> None:
    x, _ = grid(0.1)
    plain, gentle, steep = (
        generated(make(HeightField.centred(0.7 * x, 0.1, threshold), 1)) for threshold in (0.0, 0.75, 0.65)
    )
    assert plain == gentle != steep


# ---------------------------------------------------------------------- beside MuJoCo


@pytest.mark.parametrize("seed", range(3))
def test_a_ball_has_the_contacts_of_mujoco(seed: int, no_bound: None) -> None:
    ground, random, radius = blocks(seed), np.random.default_rng(seed), 0.03
    points = inside(ground, around(ground, random, 600, 1e-3, radius), radius)
    near_walls = points[random.integers(len(points), size=300)]
    cells = (near_walls[:, :2] - ground.origin) / ground.cell
    near_walls[:, :2] += (np.round(cells) - cells) * ground.cell + random.uniform(-radius, radius, (300, 2))
    near_walls[:, 2] = random.uniform(0.0, 0.2 + radius, 300)
    points = np.concatenate((points, inside(ground, near_walls, radius)))
    points[:, :2] += random.normal(0, 1e-4, (len(points), 2))  # on a wall either side of it is as good
    points = points[points[:, 2] > ground.height_at(points[:, :2]) + 1e-3]
    model = ball(ground, radius)
    data, compared = mujoco.MjData(model), {1: 0, 2: 0}
    slots = touch(ground, points, radius)
    for n, point in enumerate(points):
        data.qpos[:3] = point
        mujoco.mj_forward(model, data)
        sign = np.where(data.contact.geom[:, 1] == model.ngeom - 1, 1.0, -1.0)[:, None]
        theirs = np.column_stack((data.contact.dist, sign * data.contact.frame[:, :3]))
        # contacts with parts of the ground that are flush
        theirs = np.unique(theirs.round(6) + 0.0, axis=0)
        found = [np.r_[s.dist[n], s.normal[n]] for s in slots if s.touches[n]]
        ours = np.unique(np.array(found).reshape(-1, 4).round(6) + 0.0, axis=0)
        assert bool(len(theirs)) == bool(len(ours)) or abs(slots[0].dist[n]) < 1e-6
        if len(theirs) == len(ours) > 0:
            np.testing.assert_allclose(ours, theirs, atol=5e-6)
            compared[len(ours)] += 1
        else:  # a seam between parts, or the corner of three faces
            assert len(theirs) >= len(ours)
    assert compared[1] > 200 and compared[2] > 10, compared


def test_a_step_among_walls_is_that_of_mujoco() -> None:
    squares = 0.3 * np.random.default_rng(1).integers(0, 2, (10, 10))
    ground = HeightField.centred(squares.repeat(4, 0).repeat(4, 1), 0.2, 0.75)
    model = build_scene(ANYMAL_C, ground)
    model.opt.tolerance, model.opt.ccd_tolerance, model.opt.ccd_iterations = 1e-13, 1e-12, 200
    cases = take_cases(
        model, 300, seed=1, stance=STANCE, steps=100, speed=1.0, single_precision=True, heights=(0.8, 1.0)
    )
    like, at_wall = _contacts_alike(cases, ground)
    assert like.mean() > 0.9 and (like & at_wall).sum() > 30
    robot = EagerRobot(build_scene(ANYMAL_C, replace(ground, slope_threshold=0.0)))
    state, _ = eager.step(
        robot.robot, robot.state(cases), robot.inputs(cases), height_field(ground), eager.EXACT
    )
    assert cases.error(robot.arrays(state)[1])[like].max() < 1e-5
    error = cases.error(engine_step(make(ground, 300), cases))[like]
    assert np.quantile(error, 0.98) < 1e-4 and error.max() < 2e-3


def _contacts_alike(cases: Cases, ground: HeightField) -> tuple[Array, Array]:
    """Whether MuJoCo has the contacts that our surface finds; whether one is at a wall or an edge; bool [N]."""
    model, data = cases.model, mujoco.MjData(cases.model)
    spheres = np.flatnonzero((model.geom_type == mujoco.mjtGeom.mjGEOM_SPHERE) & (model.geom_contype > 0))
    centres, theirs = [], []  # and distances and normals: of each case and sphere
    for qpos in cases.qpos:
        data.qpos[:] = qpos
        mujoco.mj_kinematics(model, data)
        mujoco.mj_collision(model, data)
        centres.append(data.geom_xpos[spheres])
        contacts: list[list] = [[] for _ in spheres]
        for contact in data.contact[: data.ncon]:
            second = contact.geom[1] in spheres
            normal = contact.frame[:3] * (1.0 if second else -1.0)
            sphere = np.searchsorted(spheres, contact.geom[int(second)])
            contacts[sphere].append((contact.dist, *normal))
        theirs.append(contacts)
    alike, at_wall = np.ones(len(theirs), bool), np.zeros(len(theirs), bool)
    for s, geom in enumerate(spheres):
        slots = touch(ground, np.array(centres)[:, s], float(model.geom_size[geom, 0]))
        for n, contacts in enumerate(theirs):
            ours = [(slot.dist[n], *slot.normal[n]) for slot in slots if slot.touches[n]]
            alike[n] &= len(ours) == len(contacts[s])
            if ours and alike[n]:
                alike[n] &= np.abs(np.sort(ours, 0) - np.sort(contacts[s], 0)).max() < 1e-5
            at_wall[n] |= any(abs(up) < 0.99 for *_, up in ours)
    return alike, at_wall


@pytest.mark.parametrize("rise", [0.1, 0.2])
def test_robots_stand_and_trot_over_a_step_as_in_mujoco(rise: float) -> None:
    ground, count = step(rise), 16
    pos = above(ground, 0.4 * uniform(count, 2, seed=0) - 0.2, 0.0)
    pos[:, 2] = 0.6 + rise
    engines = make(ground, count), MujocoEngine(ANYMAL_C, ground, count, num_threads=1)
    targets = [trot(engines[0], i, torch.zeros(1, 1)) for i in range(40)]
    for engine in engines:
        put(engine, pos)
        for target in targets:
            engine.step(target, 4)
    ours, theirs = (live(engine) for engine in engines)
    error = (ours["base_pos"] - theirs["base_pos"]).norm(dim=1)
    assert error.median() < 5e-3 and (error < 0.1).float().mean() > 0.8
    for engine in engines:
        for _ in range(75):
            engine.step(stance(engine), 4)
        clear = engine.foot_pos[..., 2] - ground.height_at(engine.foot_pos[..., :2].contiguous())
        assert (clear > RADIUS - 3e-3).all()
        weight = float(engine.total_mass[0]) * 9.81
        assert engine.contact_force[..., 2].sum(1).median() == pytest.approx(weight, rel=0.1)


# ---------------------------------------------------------------------- fast feet, deep feet


@pytest.mark.parametrize("speed", [2.0, 9.0])
@pytest.mark.parametrize("direction", [(1.0, 0.0), (0.0, -1.0), (1.0, 1.0)])
def test_a_robot_thrown_at_a_wall_does_not_end_in_it(direction: tuple[float, float], speed: float) -> None:
    ahead = np.array(direction) / np.linalg.norm(direction)
    x, y = grid(0.1, 12.0, 12.0)
    ground = HeightField.centred(0.2 * (ahead[0] * x + ahead[1] * y > 1e-6), 0.1, 0.75)
    engine = make(ground, 32)
    throw(engine, ahead, speed)
    lowest = np.inf
    for _ in range(160):
        engine.step(stance(engine), 1)
        centres = centres_of(engine)
        clear = centres[..., 2] - ground.height_at(centres[..., :2].copy())
        lowest = min(lowest, clear.min())
    assert lowest < (RADIUS if speed < 5 else 0.0) and clear.min() > 0.5 * RADIUS
    assert (engine.base_lin_vel.norm(dim=1) < speed).all() and not engine.bad.any()


@pytest.mark.parametrize("threshold", [0.0, 0.75])
def test_what_begins_below_the_ground_is_not_launched(threshold: float) -> None:
    x, y = grid(0.1, 20.0, 20.0)
    squares = (np.floor(x / 0.45) + np.floor(y / 0.5)) % 2
    ground, n = HeightField.centred(0.2 * squares, 0.1, threshold), 64
    engine = make(ground, n)
    put(engine, above(ground, 6 * uniform(n, 2, seed=1) - 3, 0.2))  # feet 0.4 m below
    engine.step(stance(engine), 1)
    assert engine.joint_vel.abs().amax(1).median() < 20.0  # MuJoCo: 6 without walls, 29 with boxes
    assert (engine.base_lin_vel.norm(dim=1) < 5.0).all()
    for _ in range(300):
        engine.step(stance(engine), 1)
    centres = centres_of(engine)
    # a leg through a block is pushed out to both sides; MuJoCo keeps 3 robots in boxes, in a height field all
    sunk = (centres[..., 2] < ground.height_at(centres[..., :2].copy())).any(1)
    assert sunk.sum() <= (3 if threshold else 0) and not engine.bad.any()
