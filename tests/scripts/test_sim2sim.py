"""The command drives exported policies, and refuses bad input with one sentence."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deploy import robot as sim2sim_robot
from scripts import sim2sim
from scripts.sim2sim import main, shape_course
from terrains.grid import single_terrain
from terrains.ground import HeightField
from tests.deploy.common import (
    MJCF,
    base_of,
    bumps,
    edit,
    edit_mjcf,
    export_flat,
    export_rough,
    nominal_env,
    rough_env,
)
from viewers import second
from viewers.web.settings import Settings


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a small random policy that moves its legs, and its export."""
    folder = tmp_path_factory.mktemp("run")
    export_flat(nominal_env(), folder)
    return folder


@pytest.fixture
def exported(run_folder: Path, tmp_path: Path) -> Path:
    """A copy of the export that a test may spoil."""
    return Path(shutil.copytree(run_folder / "exported", tmp_path / "exported"))


@pytest.fixture(scope="module")
def rough(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Export of a policy with a height scan."""
    return export_rough(rough_env("minimum"), tmp_path_factory.mktemp("rough"))


def test_needs_nothing_of_the_project(run_folder: Path) -> None:
    """But the shapes of terrain, which are data, and what draws, if it is asked for."""
    blocked = [
        "algorithms",
        "envs",
        "evaluation",
        "physics",
        "robots",
        "studies",
        "terrains",
        "torch",
        "viewers",
        "viser",
    ]
    flags = ["--policy", str(run_folder / "exported"), "--episodes", "1", "--seconds", "2", "--threads", "1"]
    program = f"""
import sys
sys.modules |= dict.fromkeys({blocked})
from scripts.sim2sim import main
sys.exit(main({flags}))
"""
    root = Path(str(sim2sim.__file__)).parents[1]
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_video_is_of_the_first_episode(exported: Path, tmp_path: Path) -> None:
    path = tmp_path / "walk.mp4"
    args = ["--policy", str(exported), "--episodes", "1", "--seconds", "2", "--threads", "1"]
    seen = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(second, "film_anyhow", lambda clips, recording, *_: seen.append(recording))
        assert main([*args, "--video", str(path)]) == 0
    assert seen[0].num_robots == 1 and 0 < seen[0].num_steps <= 100


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


def test_a_policy_that_came_along_is_found_by_name() -> None:
    facts, _ = sim2sim_robot.load_policy(sim2sim.exported(Path("go2_flat")))
    assert (facts["mjcf"], facts["training"]["run"]) == ("go2.xml", "go2_flat")


def make_heavy(root: ElementTree.Element) -> None:
    inertial = base_of(root).find("inertial")
    assert inertial is not None
    inertial.set("mass", "20")


def test_another_model_is_compared_first(
    exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ["--policy", str(exported), "--episodes", "1", "--seconds", "2", "--threads", "1"]

    def first_lines(model: Path) -> list[str]:
        assert main([*args, "--model", str(model)]) == 0
        return capsys.readouterr().out.split("\n1 episodes of")[0].splitlines()

    assert first_lines(MJCF) == ["the model is as trained"]
    heavy = edit_mjcf(tmp_path / "heavy.xml", make_heavy)
    table = first_lines(heavy)
    assert len(table) == 3 and all(line.startswith("mass, kg") for line in table[1:])
    assert table[2].split()[-2:] == ["20", "base"]
    edit(exported, lambda facts: facts.pop("assumed"))
    assert first_lines(heavy) == [
        "policy.json says nothing of the model that was trained on; export the policy again to compare"
    ]
    assert main(args) == 0 and "trained" not in capsys.readouterr().out


def test_what_is_added_to_the_joints_is_reported(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ["--policy", str(run_folder / "exported"), "--episodes", "2", "--seconds", "2", "--threads", "1"]
    added = ["--joint_damping", "0", "5", "--armature", "0.02", "--json", str(tmp_path / "figures.json")]
    costs = []
    for flags in ([], added):
        assert main([*args, *flags]) == 0
        out = capsys.readouterr().out
        costs.append(out.splitlines()[-1])
    assert costs[0] != costs[1]
    assert "added to every joint: joint_damping 0 to 5 N m s/rad, armature 0.02 kg m^2" in out
    report = json.loads((tmp_path / "figures.json").read_text())
    assert report["added"] == {"joint_damping": [0, 5], "friction_loss": [0, 0], "armature": [0.02, 0.02]}


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


@pytest.mark.parametrize("shape", ["slope_up", "random_rough", "waves"])
def test_sloping_ground_does_not_stand_on_boxes(
    shape: str, rough: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--policy", str(rough), "--terrain", shape, "--ground", "boxes"]) == 2
    error = capsys.readouterr().err
    assert "needs level ground with edges, such as stairs_up" in error and error.count("\n") == 1


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


def shorten(facts: dict[str, Any]) -> None:
    facts["assumed"]["joint_pos_limits"]["low"].pop()


def test_a_page_on_stairs_can_go_to_a_plane_and_back(rough: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[Any] = []
    monkeypatch.setattr(second, "show_second", lambda *args: shown.extend(args))
    assert (
        main(["--policy", str(rough), "--viewer", "web", "--terrain", "stairs_up", "--difficulty", "1"]) == 0
    )
    _, builds, first = shown
    policy = second.SecondPolicy(builds[first], "plane")
    places = {}
    for shape in ("stairs_up", "plane", "waves"):
        simulation = policy.simulate(Settings("", shape, robots=1), "cpu", 1, 1)
        places[simulation.place] = isinstance(simulation.ground, HeightField)
    assert places == {
        "stairs_up 0.5, plain MuJoCo": True,
        "plane, plain MuJoCo": False,
        "waves 0.5, plain MuJoCo": True,
    }


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
    (lambda folder: edit(folder, lambda facts: facts["assumed"].pop("armature")), "it lacks 'armature'"),
    (lambda folder: edit(folder, shorten), "assumed.joint_pos_limits.low must be 12 finite numbers"),
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
        (["--json", "/proc/x.json"], "--json /proc/x.json cannot be written"),
        (["--video", "/nowhere/x.mp4"], "--video /nowhere/x.mp4: the folder does not exist"),
        (["--video", "x.avi"], "--video x.avi must be an .mp4 file"),
        (["--viewer", "wbe"], "invalid choice: 'wbe' (choose from"),
        (["--viewer", "web", "--json", "x.json"], "--viewer measures nothing: leave out --json"),
        (["--port", "8080"], "--port needs --viewer web"),
        (["--viewer", "web", "--port", "0"], "--port must be between 1 and 65535"),
        (["--viewer", "web", "--terrain", "stairs_upp"], "unknown terrain shape 'stairs_upp'"),
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
        (["--joint_damping", "-0.1"], "--joint_damping must be one value or a range LOW HIGH"),
        (["--friction_loss", "0.3", "0.1"], "finite and not negative, not 0.3 0.1"),
        (["--armature", "0", "1", "2"], "--armature must be one value or a range LOW HIGH"),
        (["--armature", "much"], "argument --armature: invalid float value: 'much'"),
        (["--armatur", "-1"], "--armature must be one value or a range"),
        (["--joint_dampin_g", "1"], "unknown flag --joint_dampin_g. Did you mean --joint_damping"),
        (["--heights", "/nowhere.npy"], "--heights /nowhere.npy cannot be read"),
    ],
)
def test_bad_flags_are_one_sentence(
    args: list[str], sentence: str, run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--policy", str(run_folder / "exported"), *args]) == 2
    error = capsys.readouterr().err
    assert sentence in error and error.count("\n") == 1
