"""Drive an exported policy in plain MuJoCo: `python scripts/sim2sim.py --policy RUN/exported`.

A second opinion on evaluation and export: of this project it reads `policy.json`, `policy.onnx` and the
robot's MJCF, none of its code. It needs numpy, mujoco and onnxruntime.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NoReturn

import mujoco
import numpy as np
import onnxruntime

FORMAT = "trot-policy-1"
ROBOTS = Path(__file__).resolve().parent.parent / "robots"
SEGMENT = 5.0  # s between commands
SETTLING = 1.0  # s after a command that the settled figures leave out
TOLERANCE = 1e-5  # golden action; relative where it exceeds 1
RESAMPLES = 200

# ---------------------------------------------------------------------- exported files

_PER_JOINT = ("default_joint_pos", "stiffness", "damping", "effort_limit")
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
        raise ValueError(f"--policy {folder} is not a folder; export a policy with scripts/export.py")
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
        columns += term["columns"]
    _finite("golden observation", facts["golden"]["observation"], columns)
    _finite("golden action", facts["golden"]["action"], len(joints))
    _finite("reset.joint_scale", facts["reset"]["joint_scale"], 2)
    _finite("reset.base_velocity", [facts["reset"]["base_velocity"]], 1)
    _finite("fall.force", [facts["fall"]["force"]], 1)
    names = [*joints, facts["mjcf"], *(geom for geoms in facts["fall"]["geoms"].values() for geom in geoms)]
    if not all(isinstance(name, str) for name in names):
        raise ValueError("names of joints, geoms and the MJCF file must be strings")


def _finite(name: str, values: list[float], count: int) -> None:
    if len(values) != count or not all(math.isfinite(value) for value in values):
        raise ValueError(f"{name} must be {count} finite number{'s' if count > 1 else ''}")


# ---------------------------------------------------------------------- the robot


class Robot:
    """One robot on a plane in plain MuJoCo, driven and observed as `policy.json` says."""

    def __init__(self, facts: dict[str, Any], path: Path):
        """Build the scene; ValueError with one sentence where the MJCF lacks what the policy needs."""
        self.facts = facts
        self.model, self.data = model, data = _build(facts, path)
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

    def reset(self, rng: np.random.Generator) -> None:
        """Start an episode with the reset noise of the training."""
        noise, zeros = self.facts["reset"], np.zeros(len(self.default))
        pose = np.array([0.0, 0.0, self.facts["init_height"], 1.0, 0.0, 0.0, 0.0])
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
        terms = self.facts["observations"]
        return np.concatenate([QUANTITIES[term["function"]](self) * term["scale"] for term in terms])

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


QUANTITIES: dict[str, Callable[[Robot], np.ndarray]] = {
    "base_lin_vel": lambda robot: robot.rotation.T @ robot.base_lin_vel,
    "base_ang_vel": lambda robot: robot.base_ang_vel,
    "projected_gravity": lambda robot: -robot.rotation[2],
    "command": lambda robot: robot.command,
    "joint_pos": lambda robot: robot.joint_pos - robot.default,
    "joint_vel": lambda robot: robot.joint_vel,
    "previous_action": lambda robot: robot.action,
}
"""Parts of an observation by name, before the scale; SI units, base frame."""


def _build(facts: dict[str, Any], path: Path) -> tuple[mujoco.MjModel, mujoco.MjData]:
    """The MJCF with a plane, friction 1, and position drives in the policy's joint order."""
    if not path.is_file():
        raise ValueError(f"model {path} does not exist; give another with --model")
    try:
        spec = mujoco.MjSpec.from_file(str(path))
    except ValueError as error:
        raise ValueError(f"model {path} is not a valid MJCF file ({' '.join(str(error).split())})") from error
    hinges = [joint.name for joint in spec.joints if joint.type == mujoco.mjtJoint.mjJNT_HINGE]
    _require("hinge joint", facts["joint_names"], hinges, path)
    geoms = [name for names in facts["fall"]["geoms"].values() for name in names]
    _require("geom", geoms, [geom.name for geom in spec.geoms], path)
    # Drives are the policy's; what refers to the model's own would no longer compile.
    for element in (*spec.keys, *spec.sensors, *spec.actuators):
        spec.delete(element)
    spec.option.timestep = facts["timestep"]
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    # A robot with NaN counts as fallen; MuJoCo would put it back to the start.
    spec.option.disableflags |= mujoco.mjtDisableBit.mjDSBL_AUTORESET
    if not any(geom.type == mujoco.mjtGeom.mjGEOM_PLANE for geom in spec.worldbody.geoms):
        spec.worldbody.add_geom(type=mujoco.mjtGeom.mjGEOM_PLANE, size=[0, 0, 0.05])
    for geom in spec.geoms:
        geom.friction[0] = 1.0
    gains = zip(facts["stiffness"], facts["damping"], facts["effort_limit"], strict=True)
    for joint, (stiffness, damping, limit) in zip(facts["joint_names"], gains, strict=True):
        actuator = spec.add_actuator(target=joint, trntype=mujoco.mjtTrn.mjTRN_JOINT)
        actuator.forcelimited, actuator.forcerange = True, [-limit, limit]
        actuator.set_to_position(kp=stiffness, kv=damping)
    try:
        model = spec.compile()
    except ValueError as error:
        raise ValueError(f"model {path} does not compile ({' '.join(str(error).split())})") from error
    return model, mujoco.MjData(model)


def _require(kind: str, names: list[str], there: list[str], path: Path) -> None:
    missing = [name for name in names if name not in there]
    if missing:
        known = ", ".join(name for name in there if name)
        raise ValueError(f"model {path} has no {kind} {', '.join(missing)} for this policy; it has {known}")


# ---------------------------------------------------------------------- episodes


@dataclass
class Episodes:
    """What E episodes of T policy steps gave."""

    lin_error: np.ndarray
    """|v_xy* - v_xy|, m/s, [E, T]; |v_xy*| from a fall on."""
    ang_error: np.ndarray
    """|w_z* - w_z|, rad/s, [E, T]; |w_z*| from a fall on."""
    fell: np.ndarray
    """bool, [E]."""
    work: np.ndarray
    """Sum of |torque x joint velocity| x time until a fall, J, [E]."""
    path: np.ndarray
    """Horizontal path of the base until a fall, m, [E]."""


def sample_commands(episodes: int, seconds: float, seed: int) -> np.ndarray:
    """Commands (vx, vy in m/s, yaw rate in rad/s), uniform in +-1, [episodes, segments, 3]."""
    segments = max(1, math.ceil(seconds / SEGMENT - 1e-9))
    return np.random.default_rng(seed).uniform(-1.0, 1.0, (episodes, segments, 3))


def drive(folder: Path, mjcf: Path, seconds: float, commands: np.ndarray, seeds: list[list[int]]) -> Episodes:
    """Run one episode for each row of commands [E, segments, 3], its start drawn from its seed."""
    facts, act = load_policy(folder)
    robot = Robot(facts, mjcf)
    steps, per_segment = round(seconds / robot.dt), round(SEGMENT / robot.dt)
    by_step = np.repeat(commands, per_segment, axis=1)[:, :steps]
    lin_error, ang_error = np.linalg.norm(by_step[..., :2], axis=2), np.abs(by_step[..., 2])
    fell = np.zeros(len(commands), dtype=bool)
    work, path = np.zeros(len(commands)), np.zeros(len(commands))
    loud, quiet = mujoco.MjLogConfig.get(), mujoco.MjLogConfig.get()
    quiet.logto_console = quiet.logto_file = False  # NaN is counted; MuJoCo would also write a file about it
    quiet.set()
    try:
        for i, seed in enumerate(seeds):
            robot.reset(np.random.default_rng(seed))
            act.reset()
            for step, command in enumerate(by_step[i]):
                robot.command = command
                fell[i], energy, distance = robot.step(act(robot.observe()))
                if fell[i]:
                    break
                velocity = robot.rotation.T @ robot.base_lin_vel
                lin_error[i, step] = np.linalg.norm(command[:2] - velocity[:2])
                ang_error[i, step] = abs(command[2] - robot.base_ang_vel[2])
                work[i] += energy
                path[i] += distance
    finally:
        loud.set()
    return Episodes(lin_error, ang_error, fell, work, path)


def drive_all(folder: Path, mjcf: Path, episodes: int, seconds: float, seed: int, processes: int) -> Episodes:
    """All episodes, spread over processes; figures do not depend on their number."""
    commands = sample_commands(episodes, seconds, seed)
    seeds = [[seed, i] for i in range(episodes)]
    if processes == 1:
        return drive(folder, mjcf, seconds, commands, seeds)
    parts = [part for part in np.array_split(np.arange(episodes), 2 * processes) if len(part)]
    # spawn: a forked copy of onnxruntime's or MuJoCo's threads may hang
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        columns = zip(*((commands[part], [seeds[i] for i in part]) for part in parts), strict=True)
        results = [asdict(result) for result in pool.map(partial(drive, folder, mjcf, seconds), *columns)]
    return Episodes(**{name: np.concatenate([result[name] for result in results]) for name in results[0]})


# ---------------------------------------------------------------------- figures


@dataclass
class Figure:
    """A number with its 95 % confidence interval over episodes."""

    value: float
    low: float
    high: float


def figures(episodes: Episodes, dt: float, weight: float) -> dict[str, Figure]:
    """Figures by name; intervals are bootstrapped over episodes, that of `falls` is Wilson's (1927).

    Args:
        episodes: what was recorded.
        dt: duration of a policy step, s.
        weight: weight of the robot, N.
    """
    count, steps = episodes.lin_error.shape
    rows = np.random.default_rng(0).integers(count, size=(RESAMPLES, count))

    def interval(value: float, resampled: Iterable[float]) -> Figure:
        low, high = np.quantile(np.array(list(resampled)), (0.025, 0.975))
        return Figure(float(value), float(low), float(high))

    settled = np.arange(steps) % round(SEGMENT / dt) >= round(SETTLING / dt)
    result: dict[str, Figure] = {}
    for name, error in (("lin_vel_error", episodes.lin_error), ("ang_vel_error", episodes.ang_error)):
        for suffix, values in (("", error), ("_settled", error[:, settled])):
            means = values.mean(1)
            result[name + suffix] = interval(means.mean(), means[rows].mean(1))
            p95 = (float(np.quantile(values[row], 0.95)) for row in rows)
            result[f"{name}{suffix}_p95"] = interval(np.quantile(values, 0.95), p95)
    z, share = 1.96, float(episodes.fell.mean())
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z * math.sqrt(share * (1 - share) / count + (z / (2 * count)) ** 2) / (1 + z * z / count)
    result["falls"] = Figure(share, max(0.0, middle - half), min(1.0, middle + half))
    work, path = episodes.work, episodes.path
    cost = work[rows].sum(1) / np.maximum(weight * path[rows].sum(1), 1e-6)
    result["cost_of_transport"] = interval(work.sum() / max(weight * path.sum(), 1e-6), cost)
    return result


_LABELS = {
    "lin_vel_error": "velocity error, m/s",
    "lin_vel_error_p95": "  95th percentile",
    "lin_vel_error_settled": "  without first second",
    "lin_vel_error_settled_p95": "  same, 95th percentile",
    "ang_vel_error": "yaw rate error, rad/s",
    "ang_vel_error_p95": "  95th percentile",
    "ang_vel_error_settled": "  without first second",
    "ang_vel_error_settled_p95": "  same, 95th percentile",
    "falls": "falls, share",
    "cost_of_transport": "cost of transport",
}


class Parser(argparse.ArgumentParser):
    """Turns a usage error into a `ValueError` of one sentence."""

    def error(self, message: str) -> NoReturn:
        """See the class."""
        raise ValueError(f"{message}; see --help")


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Flags, checked; ValueError with one sentence for what cannot work."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policy", type=Path, required=True, help="folder made by scripts/export.py")
    parser.add_argument("--model", type=Path, help="MJCF of the robot (the policy's own in robots/)")
    parser.add_argument("--episodes", type=int, default=64, help="robots driven, one at a time (%(default)s)")
    parser.add_argument("--seconds", type=float, default=20.0, help="length of an episode, s (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="seed of commands and starts (%(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="processes (%(default)s)")
    parser.add_argument("--json", type=Path, help="file for the figures")
    flags = parser.parse_args(argv)
    for name, low in (("episodes", 1), ("threads", 1), ("seed", 0)):
        if getattr(flags, name) < low:
            raise ValueError(f"--{name} must be at least {low}, not {getattr(flags, name)}")
    if not 2.0 * SETTLING <= flags.seconds < math.inf:
        raise ValueError(f"--seconds must be at least {2.0 * SETTLING:g}, not {flags.seconds:g}")
    if flags.json and not flags.json.resolve().parent.is_dir():
        raise ValueError(f"--json {flags.json}: the folder does not exist")
    return flags


def main(argv: list[str] | None = None) -> int:
    """Drive and measure; the last line printed is `key=value` figures. Returns the exit status."""
    try:
        flags = parse(argv)
        facts, _ = load_policy(flags.policy)
        mjcf = flags.model or ROBOTS / facts["mjcf"]
        robot = Robot(facts, mjcf)
        episodes = drive_all(flags.policy, mjcf, flags.episodes, flags.seconds, flags.seed, flags.threads)
        found = figures(episodes, robot.dt, robot.weight)
        if flags.json:
            report = {
                "training": facts.get("training"),
                "model": mjcf.name,
                "mujoco": mujoco.__version__,
                "episodes": flags.episodes,
                "seconds": flags.seconds,
                "seed": flags.seed,
                **{name: figure.value for name, figure in found.items()},
                "intervals": {name: [figure.low, figure.high] for name, figure in found.items()},
            }
            temporary = flags.json.with_name(f".{flags.json.name}.tmp")
            temporary.write_text(json.dumps(report, indent=1))
            os.replace(temporary, flags.json)
    except (ValueError, OSError) as error:
        print(f"sim2sim.py: {error}", file=sys.stderr)
        return 2
    print(f"{flags.episodes} episodes of {flags.seconds:g} s, {mjcf.name}, MuJoCo {mujoco.__version__}")
    print(f"{'':26}{'':>9}  95 % interval")
    for name, label in _LABELS.items():
        figure = found[name]
        print(f"{label:26}{figure.value:9.3f}  {figure.low:.3f} to {figure.high:.3f}")
    short = ("lin_vel_error", "ang_vel_error", "falls", "cost_of_transport")
    print(" ".join(f"{name}={found[name].value:.4f}" for name in short))
    return 0


if __name__ == "__main__":
    sys.exit(main())
