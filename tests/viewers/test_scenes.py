"""Who is filmed, from where, on which ground, and what is written beside it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import mujoco
import numpy as np
import pytest

from robots import ANYMAL_C
from terrains.grid import TerrainConfig, make_terrain, single_terrain
from terrains.ground import HeightField, Plane
from tests.viewers.test_video import has_opengl, read
from viewers import progress, skin
from viewers.camera_work import go_with, lie_where_they_fell, star
from viewers.filming import film_clips
from viewers.ground_mesh import ground_mesh, ground_texture
from viewers.labels import write_label
from viewers.lanes import pair_starts, spread_starts
from viewers.progress import Progress
from viewers.recording import Camera, Recording
from viewers.scenes import mosaic, walk
from viewers.shapes import shown_geoms
from viewers.skin import Wardrobe
from viewers.stage import Pose, Stage
from viewers.web.scene import _body_surface


@pytest.fixture(scope="module")
def stairs() -> HeightField:
    """A tile of stairs with level ground around it."""
    return single_terrain("stairs_up", 0.6).ground


@pytest.fixture
def on_stairs(recording: Recording, stairs: HeightField) -> Recording:
    """Robot 0 stands, 1 walks furthest, 2 falls soon."""
    place = np.tile([-2.0, 4.0, 0.6], (recording.num_steps, 3, 1))
    place[..., 1] += [-1.2, 0.0, 1.2]
    place[:, 1, 0] += np.linspace(0.0, 1.0, recording.num_steps)
    place[:, 2, 0] += np.linspace(0.0, 0.9, recording.num_steps)
    fell = np.zeros_like(recording.fell)
    fell[5, 2] = True
    return dataclasses.replace(recording, base_pos=place, fell=fell, ground=stairs)


def test_the_ground_is_all_there_and_walls_look_down(stairs: HeightField) -> None:
    mesh = ground_mesh(stairs)
    assert len(mesh.points) < 2000 < stairs.heights.size, "level ground is few faces"
    up = mesh.normals[:, 0, 2]
    tops = up > 0.5
    middle = mesh.points[tops].mean(1)
    low = np.array(stairs.origin)
    high = low + stairs.cell * (np.array(stairs.heights.shape) - 1)
    inside = ((middle[:, :2] > low) & (middle[:, :2] < high)).all(1)
    np.testing.assert_allclose(stairs.height_at(middle[inside, :2].copy()), middle[inside, 2], atol=1e-4)
    # a top's area, but for what it reaches under others
    sides = mesh.points[tops][inside]
    area = 0.5 * np.abs(np.cross(sides[:, 1] - sides[:, 0], sides[:, 2] - sides[:, 0])[:, 2]).sum()
    assert area == pytest.approx(np.prod(high - low), rel=0.02)
    walls = np.abs(up) < 0.01
    middle, normal = mesh.points[walls].mean(1), mesh.normals[walls, 0]
    before = stairs.height_at(middle[:, :2] + 0.02 * normal[:, :2])
    behind = stairs.height_at(middle[:, :2] - 0.02 * normal[:, :2])
    assert walls.sum() > 20 and (before < behind).all()


def test_higher_ground_has_another_colour(stairs: HeightField) -> None:
    picture = ground_texture(stairs).astype(float)
    heights = np.kron(stairs.corners.mean((2, 3)), np.ones((4, 4)))
    deep, level = picture[heights < -0.8].mean(0), picture[heights > -0.01].mean(0)
    assert np.abs(deep - level).max() > 40


@pytest.mark.parametrize(
    "shape", ["stairs_up", "stairs_down", "gap", "pit", "stepping_stones", "random_rough"]
)
def test_starts_are_apart_on_firm_ground_and_as_high_as_a_tiles_middle(shape: str) -> None:
    cfg = TerrainConfig(border=5.0)
    terrain = spread_starts(shape, 0.7, cfg, 9, 0.6)
    starts = terrain.origins.reshape(-1, 3)
    distance = np.linalg.norm(starts[:, None, :2] - starts[None, :, :2], axis=-1) + 9.0 * np.eye(9)
    assert len(starts) == 9 and distance.min() > 1.0
    np.testing.assert_allclose(starts[:, 2], terrain.ground.height_at(starts[:, :2].copy()), atol=1e-6)
    middle = single_terrain(shape, 0.7, cfg).origins[0, 0, 2]
    assert np.abs(starts[:, 2] - middle).max() < 0.25


def test_a_mosaic_has_two_robots_on_each_tile_around_its_middle() -> None:
    cfg = TerrainConfig(type="tiles", levels=4, columns=6, proportions={"stairs_up": 0.5, "stairs_down": 0.5})
    terrain = make_terrain(cfg)
    assert terrain is not None
    paired = pair_starts(terrain, 8, 0.6)
    assert paired.origins.shape == (1, 8, 3) and set(paired.column_shapes) == {"stairs_up", "stairs_down"}
    starts = paired.origins[0]
    middles = terrain.origins.reshape(-1, 3)
    tiles = np.linalg.norm(starts[:, None, :2] - middles[None, :, :2], axis=-1).argmin(1)
    assert (np.unique(tiles, return_counts=True)[1] == 2).all()
    middle = middles[:, :2].mean(0)
    left_out = np.setdiff1d(np.arange(len(middles)), tiles)
    assert np.linalg.norm(middles[tiles, :2] - middle, axis=1).max() < (
        np.linalg.norm(middles[left_out, :2] - middle, axis=1).max()
    )
    for start, tile, shape in zip(starts, tiles, paired.column_shapes, strict=True):
        assert terrain.column_shapes[tile % 6] == shape and start[2] == middles[tile, 2]


def test_a_robot_that_falls_again_counts_once(on_stairs: Recording) -> None:
    fell = on_stairs.fell.copy()
    fell[[8, 12], 2] = True
    label = mosaic(dataclasses.replace(on_stairs, fell=fell), "many").label
    assert label
    words = [" ".join(word for line in label(step) for word, _ in line) for step in (4, 19)]
    assert "3 robots, 0 fell" in words[0] and "3 robots, 1 fell" in words[1]


def test_the_end_is_half_a_tile_from_the_start(on_stairs: Recording) -> None:
    far = on_stairs.base_pos.copy()
    far[:, 1, 0] = np.linspace(-10.0, -5.0, len(far))
    label = walk(dataclasses.replace(on_stairs, base_pos=far), "one").label
    assert label and any("reached the end" in word for line in label(19) for word, _ in line)
    assert not any("reached the end" in word for line in label(9) for word, _ in line)


def test_the_star_walks_furthest_and_who_fell_lies(on_stairs: Recording) -> None:
    assert star(on_stairs) == 1
    everyone = dataclasses.replace(on_stairs, fell=on_stairs.fell | (np.arange(20) == 8)[:, None])
    assert star(everyone) in (0, 1), "if all fall, one that falls last"
    lying = lie_where_they_fell(on_stairs)
    np.testing.assert_array_equal(lying.base_pos[5:, 2], np.tile(on_stairs.base_pos[4, 2], (15, 1)))
    np.testing.assert_array_equal(lying.base_pos[:, :2], on_stairs.base_pos[:, :2])


def test_the_camera_stays_with_one_and_sees_its_neighbours(on_stairs: Recording) -> None:
    cameras = go_with(on_stairs, on_stairs.base_pos, 1)
    for step in (0, 10, 19):
        assert cameras[step].sees(on_stairs.base_pos[step], margin=0.0).all()
        assert np.linalg.norm(cameras[step].lookat - on_stairs.base_pos[step, 1]) < 0.6


def test_shots_of_the_same_ground_look_from_the_same_side(on_stairs: Recording) -> None:
    left = walk(on_stairs, "left")
    left.cameras[0] = Camera(np.zeros(3), 5.0, azimuth=77.0, elevation=-31.0)
    right = walk(on_stairs, "right", like=left)
    assert {(camera.azimuth, camera.elevation) for camera in right.cameras} == {(77.0, -31.0)}
    assert np.linalg.norm(right.cameras[9].lookat - on_stairs.base_pos[9, 1]) < 0.6


def test_words_say_what_came_of_it(on_stairs: Recording) -> None:
    fallen = dataclasses.replace(
        on_stairs, fell=np.ones_like(on_stairs.fell) * (np.arange(20) == 15)[:, None]
    )
    label = walk(fallen, "a title").label
    assert label
    words = [" ".join(word for line in label(step) for word, _ in line) for step in (0, 19)]
    assert "a title" in words[0] and "fell" not in words[0] and "fell after 0.3 s" in words[1]
    assert all("told" in line and "walks" in line for line in words)
    picture = np.full((120, 160, 3), 200, np.uint8)
    write_label(picture, label(19))
    assert (picture[60:].min(-1) < 120).sum() > 20 and (picture[:30] == 200).all()


def test_what_cannot_be_seen_is_not_drawn() -> None:
    """Of a robot that is one small box in a large invisible one, its colour that of a geom, not of its material."""
    model = mujoco.MjModel.from_xml_string("""
        <mujoco><asset><material name="blue" rgba="0 0 1 1"/></asset><worldbody><body><freejoint/>
          <geom type="box" size="1 1 1" rgba="1 1 1 0"/>
          <geom name="seen" type="box" size="0.01 0.01 0.01" material="blue" rgba="1 0 0 1"/>
          <geom type="box" size="2 2 2" group="3"/>
        </body></worldbody></mujoco>""")
    assert [model.geom(i).name for i in shown_geoms(model)] == ["seen"]
    surface = _body_surface(model, 1)
    assert surface and (surface.colours == (1.0, 0.0, 0.0)).all() and np.abs(surface.vertices).max() < 0.011


def test_a_robot_of_small_shapes_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        skin, "shown_geoms", lambda model: [min(shown_geoms(model), key=lambda i: model.geom_rbound[i])]
    )
    assert all(len(each.bodies) for each in Wardrobe(ANYMAL_C).skins)


def test_words_fit_a_narrow_picture() -> None:
    for width in (250, 640):
        picture = np.full((360, width, 3), 40, np.uint8)
        write_label(picture, [[("a title that is long: anymal_c_rough", "bold")]])
        light = np.flatnonzero((picture > 150).all(-1).any(0))
        assert light[-1] < width - 5, "its right end is in the picture"


def test_who_fell_is_grey() -> None:
    stage = Stage(ANYMAL_C, Plane())
    camera = Camera(np.zeros(3), 5.0)
    one = Pose(np.array([0.0, 0.0, 0.6]), np.array([1.0, 0.0, 0.0, 0.0]), np.zeros(12))

    def colourful(pose: Pose) -> int:
        paint = stage.robots([pose], camera, (320, 180)).paint[:, :3].astype(int)
        return int((np.ptp(paint, axis=1) > 60).sum())

    assert colourful(one) > 100 and not colourful(dataclasses.replace(one, fallen=True))


def test_skins_are_closed_and_small() -> None:
    wardrobe = Wardrobe(ANYMAL_C)
    counts = [len(skin.bodies) for skin in wardrobe.skins]
    assert counts[0] > counts[1] > counts[2] > 300
    place, quat = np.array([1.0, 2.0, 3.0]), np.array([1.0, 0.0, 0.0, 0.0])
    points, normals, _ = wardrobe.pose(place, quat, np.zeros(12), 0)
    faces = np.cross(points[:, 1] - points[:, 0], points[:, 2] - points[:, 0])
    assert ((faces * normals.mean(1)).sum(-1) > 0).all(), "every face looks outwards"
    assert np.abs(points.mean((0, 1)) - place).max() < 0.6


@pytest.mark.skipif(not has_opengl(), reason="no OpenGL here")
def test_shots_side_by_side_and_one_after_another(on_stairs: Recording, tmp_path: Path) -> None:
    shot = walk(on_stairs, "one")
    path = tmp_path / "a.mp4"
    film_clips([[shot, shot], [shot]], path, (320, 120), 10.0)
    facts, frames = read(path)
    assert facts["size"] == (320, 120) and len(frames) == 8

    def red(part: np.ndarray) -> int:
        return int(((part[..., 0] > 90) & (part[..., 1:] < 70).all(-1)).sum())

    assert red(frames[0][:, :160]) > 20 and red(frames[0][:, 160:]) > 20
    assert np.abs(frames[0].astype(int) - frames[-1]).mean() > 5


def test_progress_is_a_few_lines(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    now = [0.0]
    monkeypatch.setattr(progress.time, "perf_counter", lambda: now[0])
    slow = Progress("video ", 100, "frames")
    for _ in range(100):
        now[0] += 1.0
        slow.step()
    lines = capsys.readouterr().out.splitlines()
    assert 3 <= len(lines) <= 7 and "about 95 s left" in lines[0] and "of 100 frames" in lines[-1]
    quick = Progress("video ", 100, "frames")
    for _ in range(100):
        quick.step()
    assert not capsys.readouterr().out
