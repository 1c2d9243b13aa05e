"""A robot in plain MuJoCo, built, driven and observed by the files that scripts/export.py writes.

Of this project it reads `policy.json`, `policy.onnx` and the robot's MJCF, none of its code.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import onnxruntime

from deploy.ground import PLAIN, Field

FORMAT = "trot-policy-1"
TOLERANCE = 1e-5  # golden action; relative where it exceeds 1

# ---------------------------------------------------------------------- exported files

_PER_JOINT = ("default_joint_pos", "stiffness", "damping", "effort_limit")
_FOR_TERRAIN = {"terrain": ("cell", "tile_size"), "commands": ("heading_gain",)}  # older exports lack them
_POSITIVE = ("action_scale", "timestep", "decimation", "init_height")


class Act:
    """The policy in an ONNX session: scaled observation [O] -> action [A], with its memory, if it has one."""

    def __init__(self, session: onnxruntime.InferenceSession):
        """All inputs but the first are hidden states, which the outputs but the first follow."""
        self._session, (self._feed, *self._memory) = session, session.get_inputs()
        self.reset()

    def reset(self) -> None:
        """Start an episode."""
        self._hidden = [np.zeros((1, feed.shape[1]), np.float32) for feed in self._memory]

    def __call__(self, obs: np.ndarray) -> np.ndarray:
        """See the class."""
        hidden = {feed.name: value for feed, value in zip(self._memory, self._hidden, strict=True)}
        feeds = {self._feed.name: obs.astype(np.float32)[None], **hidden}
        action, *self._hidden = self._session.run(None, feeds)
        return action[0]


def load_policy(folder: Path) -> tuple[dict[str, Any], Act]:
    """Read `policy.json` and the policy in `policy.onnx`, and check their golden pair.

    Raises:
        ValueError: a file is missing or damaged, or the two do not belong together.
    """
    if not folder.is_dir():
        raise ValueError(
            f"--policy {folder} is not a folder nor in policies/; export a policy with scripts/export.py"
        )
    json_path, onnx_path = folder / "policy.json", folder / "policy.onnx"
    for path in (json_path, onnx_path):
        if not path.is_file():
            raise ValueError(f"{folder} has no {path.name}; export the policy again with scripts/export.py")
    try:
        facts = json.loads(json_path.read_text())
        _check(facts)
    except KeyError as error:
        raise ValueError(f"{json_path} is damaged: it lacks {error}") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{json_path} is damaged: {error}") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    expected = np.array(facts["golden"]["action"])
    try:
        session = onnxruntime.InferenceSession(str(onnx_path), options, providers=["CPUExecutionProvider"])
        act = Act(session)
        difference = np.abs(act(np.array(facts["golden"]["observation"])) - expected)
        act.reset()
    except Exception as error:  # onnxruntime raises many kinds
        reason = " ".join(str(error).split())[:120]
        raise ValueError(f"{onnx_path} is damaged or does not fit {json_path.name} ({reason})") from error
    if not (difference <= TOLERANCE * np.maximum(1.0, np.abs(expected))).all():
        raise ValueError(
            f"{onnx_path} does not give the golden action of {json_path.name}: it is off by "
            f"{difference.max():.2g}; export the policy again"
        )
    return facts, act


def _check(facts: dict[str, Any]) -> None:
    """Shapes and ranges of the JSON; KeyError, TypeError or ValueError with what is wrong."""
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        raise ValueError(f"its format is not {FORMAT}")
    joints = facts["joint_names"]
    for name in _PER_JOINT:
        _finite(name, facts[name], len(joints))
    for name in _POSITIVE:
        _finite(name, [facts[name]], 1)
        if facts[name] <= 0:
            raise ValueError(f"{name} must be greater than 0, not {facts[name]}")
    columns = 0
    for term in facts["observations"]:
        if term["function"] not in QUANTITIES:
            raise ValueError(
                f"observation {term['function']!r} is unknown here; known are {', '.join(QUANTITIES)}"
            )
        _finite(f"scale of {term['name']}", term["scale"], term["columns"])
        if term["function"] == "height_scan":
            _check_scan(term)
        columns += term["columns"]
    _finite("golden observation", facts["golden"]["observation"], columns)
    _finite("golden action", facts["golden"]["action"], len(joints))
    _finite("reset.joint_scale", facts["reset"]["joint_scale"], 2)
    _finite("reset.base_velocity", [facts["reset"]["base_velocity"]], 1)
    _finite("fall.force", [facts["fall"]["force"]], 1)
    for block, entries in _FOR_TERRAIN.items():
        for name in entries:
            if block in facts:
                _finite(f"{block}.{name}", [facts[block][name]], 1)
    names = [*joints, facts["mjcf"], *(geom for geoms in facts["fall"]["geoms"].values() for geom in geoms)]
    if not all(isinstance(name, str) for name in names):
        raise ValueError("names of joints, geoms and the MJCF file must be strings")


def _check_scan(term: dict[str, Any]) -> None:
    for axis in ("x", "y"):
        _finite(f"points {axis} of {term['name']}", term["points"][axis], term["columns"])
    _finite(f"offset of {term['name']}", [term["offset"]], 1)
    _finite(f"clip of {term['name']}", term["clip"], 2)
    if term["lookup"] not in ("minimum", "bilinear"):
        raise ValueError(f"lookup of {term['name']} must be minimum or bilinear, not {term['lookup']!r}")


def _finite(name: str, values: list[float], count: int) -> None:
    if len(values) != count or not all(math.isfinite(value) for value in values):
        raise ValueError(f"{name} must be {count} finite number{'s' if count > 1 else ''}")


# ---------------------------------------------------------------------- the robot


class Robot:
    """One robot in plain MuJoCo, driven and observed as `policy.json` says."""

    def __init__(
        self, facts: dict[str, Any], path: Path, field: Field | None = None, contact_time: float = 0.0
    ):
        """Build the scene.

        Args:
            facts: contents of `policy.json`.
            path: MJCF of the robot.
            field: what it stands on, a plane without.
            contact_time: time constant of contacts, s; 0 for the MJCF's own.

        Raises:
            ValueError: the MJCF lacks what the policy needs, said in one sentence.
        """
        self.facts, self.field = facts, field
        self.model, self.data = model, data = _build(facts, path, field, contact_time)
        self._terms = [
            (QUANTITIES[term["function"]], term, np.array(term["scale"])) for term in facts["observations"]
        ]
        self.default = np.array(facts["default_joint_pos"])
        self.dt = facts["timestep"] * facts["decimation"]
        joints = [model.joint(name).id for name in facts["joint_names"]]
        base = model.body_rootid[model.jnt_bodyid[joints[0]]]
        free = model.body_jntadr[base]
        if free < 0 or model.jnt_type[free] != mujoco.mjtJoint.mjJNT_FREE:
            raise ValueError(f"model {path} has no free joint at its base {model.body(base).name!r}")
        self.weight = float(model.body_subtreemass[base] * np.linalg.norm(model.opt.gravity))
        self._pos, self._vel = model.jnt_qposadr[joints], model.jnt_dofadr[joints]
        base_pos, base_vel = model.jnt_qposadr[free], model.jnt_dofadr[free]
        self.base_pos, self.base_quat = data.qpos[base_pos:][:3], data.qpos[base_pos + 3 :][:4]
        self.base_lin_vel, self.base_ang_vel = data.qvel[base_vel:][:3], data.qvel[base_vel + 3 :][:3]
        groups = [[model.geom(name).id for name in names] for names in facts["fall"]["geoms"].values()]
        self._fatal = np.zeros((len(groups), model.ngeom))
        for row, geoms in zip(self._fatal, groups, strict=True):
            row[geoms] = 1.0
        self._watched = self._fatal.sum(0) > 0.0
        self.rotation = np.eye(3)
        """Base to world, [3, 3], of the present state."""
        self.command = np.zeros(3)
        self.action = np.zeros(len(joints))

    @property
    def joint_pos(self) -> np.ndarray:
        """rad, [A], in the policy's order, like everything per joint here."""
        return self.data.qpos[self._pos]

    @property
    def joint_vel(self) -> np.ndarray:
        """rad/s, [A]."""
        return self.data.qvel[self._vel]

    @property
    def yaw(self) -> float:
        """Heading, rad."""
        return math.atan2(self.rotation[1, 0], self.rotation[0, 0])

    def reset(self, rng: np.random.Generator, start: np.ndarray | None = None, yaw: float = 0.0) -> None:
        """Start an episode with the reset noise of the training.

        Args:
            rng: of the noise.
            start: where, world frame, m, [3]; z is that of the ground. The origin by default.
            yaw: heading, rad.
        """
        noise, zeros = self.facts["reset"], np.zeros(len(self.default))
        pose = np.array([0.0, 0.0, self.facts["init_height"], math.cos(yaw / 2), 0.0, 0.0, math.sin(yaw / 2)])
        if start is not None:
            pose[:3] += start
        velocity = rng.uniform(-1.0, 1.0, 6) * noise["base_velocity"]
        low, high = noise["joint_scale"]
        self.place(pose, velocity, self.default * rng.uniform(low, high, len(zeros)), zeros)

    def place(
        self, pose: np.ndarray, velocity: np.ndarray, joint_pos: np.ndarray, joint_vel: np.ndarray
    ) -> None:
        """Set the state and forget the last action.

        Args:
            pose: base position (m) and quaternion (w x y z, base to world), [7].
            velocity: of the base, linear (m/s, world frame) and angular (rad/s, base frame), [6].
            joint_pos: rad, [A].
            joint_vel: rad/s, [A].
        """
        mujoco.mj_resetData(self.model, self.data)
        self.base_pos[:], self.base_quat[:] = pose[:3], pose[3:]
        self.base_lin_vel[:], self.base_ang_vel[:] = velocity[:3], velocity[3:]
        self.data.qpos[self._pos], self.data.qvel[self._vel] = joint_pos, joint_vel
        mujoco.mju_quat2Mat(self.rotation.reshape(9), self.base_quat)
        self.action = np.zeros(len(self.default))

    def observe(self) -> np.ndarray:
        """Scaled observation, [O]."""
        return np.concatenate([quantity(self, term) * scale for quantity, term, scale in self._terms])

    def step(self, action: np.ndarray) -> tuple[bool, float, float]:
        """Advance by one policy step; returns whether the robot fell, its work (J) and its path (m)."""
        model, data, timestep = self.model, self.data, self.facts["timestep"]
        self.action = action
        data.ctrl[:] = self.default + self.facts["action_scale"] * action
        work, start = 0.0, self.base_pos[:2].copy()
        for _ in range(int(self.facts["decimation"])):
            speed = self.joint_vel
            mujoco.mj_step(model, data)
            work += float(np.abs(data.actuator_force * speed).sum()) * timestep
        mujoco.mju_quat2Mat(self.rotation.reshape(9), self.base_quat)
        broken = not (np.isfinite(data.qpos).all() and np.isfinite(data.qvel).all())
        return broken or self._fallen(), work, float(np.linalg.norm(self.base_pos[:2] - start))

    def _fallen(self) -> bool:
        """Net contact force of a fatal group above the limit (at the start of the last physics step)."""
        data, forces, wrench = self.data, np.zeros((len(self._fatal), 3)), np.zeros(6)
        for i, (first, second) in enumerate(data.contact.geom.tolist()):
            if self._watched[first] or self._watched[second]:
                mujoco.mj_contactForce(self.model, data, i, wrench)
                force = data.contact.frame[i].reshape(3, 3).T @ wrench[:3]  # on the second geom, world frame
                forces += np.outer(self._fatal[:, second] - self._fatal[:, first], force)
        return bool((np.linalg.norm(forces, axis=1) > self.facts["fall"]["force"]).any())


def _height_scan(robot: Robot, term: dict[str, Any]) -> np.ndarray:
    """Height of a level `offset` below the base over the ground at points that turn with the heading, m, [P]."""
    level = robot.base_pos[2] - term["offset"]
    ground = np.zeros(term["columns"])
    if robot.field is not None:
        forward, left = np.array(term["points"]["x"]), np.array(term["points"]["y"])
        cos, sin = math.cos(robot.yaw), math.sin(robot.yaw)
        x = robot.base_pos[0] + cos * forward - sin * left
        y = robot.base_pos[1] + sin * forward + cos * left
        ground = robot.field.look_up(x, y, term["lookup"])
    return np.clip(level - ground, *term["clip"])


QUANTITIES: dict[str, Callable[[Robot, dict[str, Any]], np.ndarray]] = {
    "base_lin_vel": lambda robot, _: robot.rotation.T @ robot.base_lin_vel,
    "base_ang_vel": lambda robot, _: robot.base_ang_vel,
    "projected_gravity": lambda robot, _: -robot.rotation[2],
    "command": lambda robot, _: robot.command,
    "joint_pos": lambda robot, _: robot.joint_pos - robot.default,
    "joint_vel": lambda robot, _: robot.joint_vel,
    "previous_action": lambda robot, _: robot.action,
    "height_scan": _height_scan,
}
"""Parts of an observation by name, from the robot and the entry of `policy.json`, before the scale; SI units,
base frame."""


@contextmanager
def quiet() -> Iterator[None]:
    """MuJoCo keeps numbers that are not finite to itself: they are counted; it would also write a file about them."""
    before, silent = mujoco.MjLogConfig.get(), mujoco.MjLogConfig.get()
    silent.logto_console = silent.logto_file = False
    silent.set()
    try:
        yield
    finally:
        before.set()


def _build(
    facts: dict[str, Any], path: Path, field: Field | None, contact_time: float
) -> tuple[mujoco.MjModel, mujoco.MjData]:
    """The MJCF with the ground, friction 1, and position drives in the policy's joint order."""
    if not path.is_file():
        raise ValueError(f"model {path} does not exist; give another with --model")
    try:
        spec = mujoco.MjSpec.from_file(str(path))
    except ValueError as error:
        raise ValueError(f"model {path} is not a valid MJCF file ({' '.join(str(error).split())})") from error
    hinges = [joint.name for joint in spec.joints if joint.type == mujoco.mjtJoint.mjJNT_HINGE]
    _require("hinge joint", facts["joint_names"], hinges, path)
    _name_geoms(spec)
    geoms = [name for names in facts["fall"]["geoms"].values() for name in names]
    _require("geom", geoms, [geom.name for geom in spec.geoms], path)
    # Drives are the policy's; what refers to the model's own would no longer compile.
    for element in (*spec.keys, *spec.sensors, *spec.actuators):
        spec.delete(element)
    spec.option.timestep = facts["timestep"]
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    # A robot with NaN counts as fallen; MuJoCo would put it back to the start.
    spec.option.disableflags |= mujoco.mjtDisableBit.mjDSBL_AUTORESET
    planes = [geom for geom in spec.worldbody.geoms if geom.type == mujoco.mjtGeom.mjGEOM_PLANE]
    if field is not None:
        for plane in planes:
            spec.delete(plane)
        field.add_to(spec)
    elif not planes:
        spec.worldbody.add_geom(PLAIN.default, type=mujoco.mjtGeom.mjGEOM_PLANE, size=[0, 0, 0.05])
    for geom in spec.geoms:
        geom.friction[0] = 1.0
        if contact_time:
            geom.solref = [contact_time, 1.0]
    gains = zip(facts["stiffness"], facts["damping"], facts["effort_limit"], strict=True)
    for joint, (stiffness, damping, limit) in zip(facts["joint_names"], gains, strict=True):
        actuator = spec.add_actuator(PLAIN.default, target=joint, trntype=mujoco.mjtTrn.mjTRN_JOINT)
        actuator.forcelimited, actuator.forcerange = True, [-limit, limit]
        actuator.set_to_position(kp=stiffness, kv=damping)
    try:
        model = spec.compile()
    except ValueError as error:
        raise ValueError(f"model {path} does not compile ({' '.join(str(error).split())})") from error
    return model, mujoco.MjData(model)


def _name_geoms(spec: mujoco.MjSpec) -> None:
    """As in training a nameless geom that collides is called as its body, or <body>_0, ... where it has several."""
    taken = {geom.name for geom in spec.geoms}
    for body in spec.bodies[1:]:
        nameless = [geom for geom in body.geoms if not geom.name and (geom.contype or geom.conaffinity)]
        alone = len(nameless) == 1 and body.name not in taken
        for i, geom in enumerate(nameless):
            geom.name = body.name if alone else f"{body.name}_{i}"
            while geom.name in taken:
                geom.name += "_"
            taken.add(geom.name)


def _require(kind: str, names: list[str], there: list[str], path: Path) -> None:
    missing = [name for name in names if name not in there]
    if missing:
        known = ", ".join(name for name in there if name)
        raise ValueError(f"model {path} has no {kind} {', '.join(missing)} for this policy; it has {known}")
