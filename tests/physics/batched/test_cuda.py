"""The step on a GPU is that of the CPU.

Three kinds of tests: the kernel on emulated threads (see cuda_emulation.h) everywhere, NVRTC where NVIDIA's
packages are installed, and a GPU where there is one.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from physics import MujocoEngine, scene
from physics.batched import cuda, surface
from physics.batched.cuda import CudaStepper, NoCuda, compile_cuda, cuda_source, find_device, limb_threads
from physics.batched.engine import BatchedEngine
from robots import ANYMAL_C, RobotConfig
from robots.config import match
from terrains.ground import Ground, HeightField, Plane
from tests.gpu import GPU_MARKS, needs_gpu
from tests.physics.batched.cuda_emulation import Driver, generated, move_to_host, use_host
from tests.physics.batched.random_robots import Design, Link, make_robot

LIVE = ("base_pos", "base_quat", "base_lin_vel", "base_ang_vel", "joint_pos", "joint_vel", "joint_torque",
        "foot_pos", "foot_vel", "contact_force")  # fmt: skip
POSITIONS = ("base_pos", "base_quat", "joint_pos", "foot_pos")
_UNEVEN = np.random.default_rng(0).uniform(0.0, 0.06, (120, 120)).astype(np.float32)
GROUNDS: dict[str, Ground] = {
    "plane": Plane(),
    "field": HeightField.centred(_UNEVEN, 0.1),
    # walls of all heights, and stairs of 15 cm
    "walls": HeightField.centred(_UNEVEN + 0.15 * ((np.indices((120, 120)) // 4).sum(0) % 3), 0.1, 0.3),
}


def make(ground: str = "plane", num_envs: int = 40, robot: RobotConfig = ANYMAL_C, **kwargs) -> BatchedEngine:
    return BatchedEngine(robot, GROUNDS[ground], num_envs, num_threads=1, **kwargs)


def everyone(engine: BatchedEngine) -> Tensor:
    return torch.ones(engine.num_envs, dtype=torch.bool, device=engine.device)


def stance(engine: BatchedEngine, robot: RobotConfig = ANYMAL_C) -> Tensor:
    """Nominal joint angles on the CPU, [N, A]."""
    angles = [match(robot.default_joint_pos, name) for name in engine.joint_names]
    return torch.tensor(angles).repeat(engine.num_envs, 1)


def noise(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def place(engines: list[BatchedEngine], spread: float, height: float, robot: RobotConfig = ANYMAL_C) -> None:
    """The same state for all engines; with a large `spread` robots lie on any side, above or in the ground."""
    n, joints = engines[0].num_envs, len(engines[0].joint_names)
    pos = torch.cat((noise(n, 2, seed=1), height + 0.4 * spread * noise(n, 1, seed=2).abs()), 1)
    quat = torch.tensor([1.0, 0.0, 0.0, 0.0]) + spread * noise(n, 4, seed=3)
    velocities = spread * noise(n, 6, seed=4)
    angles = stance(engines[0], robot) + 0.3 * spread * noise(n, joints, seed=5)
    state = (pos, quat, velocities[:, :3], velocities[:, 3:], angles, spread * noise(n, joints, seed=6))
    for engine in engines:
        engine.write_state(everyone(engine), *(x.to(engine.device) for x in state))


def step(engines: list[BatchedEngine], targets: Tensor, delayed: bool = False) -> None:
    """One policy step of four substeps; if delayed, half of it with other targets."""
    for engine in engines:
        own = targets.to(engine.device)
        switch = torch.arange(engine.num_envs, device=engine.device) % 5
        engine.step(own, 4, *((own.roll(1, 0), switch) if delayed else ()))


def difference(a: BatchedEngine, b: BatchedEngine, name: str) -> Tensor:
    """Largest difference of each robot, [N]."""
    return (getattr(a, name).cpu() - getattr(b, name).cpu()).abs().flatten(1).amax(1)


def assert_same_step(engines: list[BatchedEngine]) -> None:
    """One step from one state differs by rounding only; by more where a sphere just reaches the ground."""
    cpu, *others = engines
    for other in others:
        for name in LIVE:
            found = difference(cpu, other, name) / getattr(cpu, name).abs().max().clamp(min=1.0)
            bound = 2e-6 if name in POSITIONS else 1e-5
            assert found.quantile(0.9) < bound and found.max() < 1e4 * bound, name
        assert not other.bad.any()


def assert_same_walk(cpu: BatchedEngine, other: BatchedEngine) -> None:
    """Fifty steps on the feet: rounding grows, but a stance forgets it."""
    place([cpu, other], spread=0.05, height=0.6)
    for i in range(50):
        step([cpu, other], stance(cpu) + 0.1 * noise(cpu.num_envs, 12, seed=100 + i), delayed=i % 3 == 0)
    for name, bound in (("base_pos", 2e-5), ("joint_pos", 1e-4), ("joint_vel", 2e-3), ("contact_force", 0.2)):
        found = difference(cpu, other, name)
        assert found.quantile(0.9) < bound and found.max() < 1e3 * bound, name
    assert (cpu.base_pos[:, 2] > 0.4).all() and cpu.contact_force[:, :4, 2].sum(1).median() > 400.0


# ---------------------------------------------------------------------- emulated threads


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> type[Driver]:
    """The driver that runs kernels on the host."""
    use_host(monkeypatch)
    return Driver


@pytest.mark.parametrize("ground", GROUNDS)
def test_kernel_computes_what_the_cpu_does(ground: str, host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scene, "STEPS_TO_RECOVER", 4)  # softer contacts: robots lie still sooner
    engines = [make(ground) for _ in range(3)]
    for engine, threads in zip(engines[1:], (4, 1), strict=True):
        move_to_host(engine, threads)
    place(engines, spread=0.5, height=0.1)
    touched = torch.zeros(len(engines[0].contact_groups))
    for i in range(10):
        for engine in engines[1:]:
            engine.load_state_dict(engines[0].state_dict())
        step(engines, stance(engines[0]) + 0.3 * noise(40, 12, seed=10 + i), delayed=i % 3 == 0)
        assert_same_step(engines)
        touched += (engines[0].contact_force.norm(dim=2) > 0).sum(0)
    assert (touched > 0).all() and touched[-1] > 20  # all limbs share the base's group, the last


def test_fifty_steps(host) -> None:
    cpu, other = make(), make()
    assert_same_walk(cpu, move_to_host(other, 4))
    assert host.launches == 1 + 50


def test_order_of_threads_changes_no_bit(host, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for order in range(3):
        monkeypatch.setattr(host, "order", order)
        engine = move_to_host(make("field"), 4)
        place([engine], spread=0.5, height=0.1)
        for i in range(5):
            step([engine], stance(engine) + 0.3 * noise(40, 12, seed=20 + i))
        found.append(engine.state_dict())
    for name, array in found[0].items():
        assert torch.equal(array, found[1][name]) and torch.equal(array, found[2][name]), name


def test_a_robot_that_is_lost_stops_alone(host) -> None:
    engines = [move_to_host(make(), 4) for _ in range(2)]
    place(engines, spread=0.05, height=0.6)
    engines[1].joint_vel[5, 7] = torch.nan  # of one limb: all its threads must stop
    for i in range(3):
        step(engines, stance(engines[0]) + 0.1 * noise(40, 12, seed=30 + i))
    assert engines[1].bad.nonzero().tolist() == [[5]] and not engines[0].bad.any()
    rest = torch.arange(40) != 5
    for name in LIVE:
        assert torch.equal(getattr(engines[0], name)[rest], getattr(engines[1], name)[rest]), name


LEG = (Link(1, False), Link(2, False))
DESIGNS = {
    "2 limbs": (Design((LEG,) * 2, 2, True, False, False, True, 1), 2),
    "8 limbs, limits and dry friction": (Design((LEG,) * 8, 1, False, True, True, False, 2), 8),
    "4 limbs without spheres": (Design(((Link(0, False),) * 2,) * 4, 2, False, False, False, True, 3), 4),
    "3 limbs": (Design((LEG,) * 3, 0, False, True, False, False, 4), 1),
    "unequal limbs": (Design((LEG, LEG, LEG[:1], LEG[:1]), 3, False, False, True, True, 5), 1),
}


@pytest.mark.parametrize("design", DESIGNS)
def test_robots_of_other_shapes(design: str, host, tmp_path: Path) -> None:
    what, threads = DESIGNS[design]
    robot = make_robot(what, tmp_path)
    cpu, other = make(robot=robot, num_envs=20), make(robot=robot, num_envs=20)
    assert limb_threads(cpu.robot_model) == threads
    move_to_host(other, threads)
    place([cpu, other], spread=0.3, height=0.1, robot=robot)
    touched = 0.0
    for i in range(5):
        other.load_state_dict(cpu.state_dict())
        step([cpu, other], 0.3 * noise(20, len(cpu.joint_names), seed=40 + i))
        assert_same_step([cpu, other])
        touched += cpu.contact_force.abs().sum().item()
    assert touched > 0.0


BASE = "for (int i = 0; i < 13; ++i) store(a.base + i"
MISTAKES = {
    "no sum over limbs": ("  reduce(r.system, 27);\n    V whole", "    V whole", "thread"),
    "no sum of forces": ("  reduce(groups, 3 * GROUPS);\n", "", None),
    "no wait before the base is written": ("  meet();  // all have read the base\n", "", "race"),
    "all store the base": (f"  if (LIMB_THREAD != 0) return;\n  {BASE}", f"  {BASE}", "race"),
    "whole warps shuffle": ("threadIdx.x % 32u / LIMB_THREADS * LIMB_THREADS)", "0) | 0xffffffffu", "thread"),
    "one limb for all threads": (
        "limb.index = i * LIMB_THREADS + LIMB_THREAD",
        "limb.index = i * LIMB_THREADS",
        "race",
    ),
    "no wait after robots are placed": ("  meet();\n  return true;", "  return true;", "race"),
}
"""What is wrong: text, its wrong replacement, what the emulation says (None: the numbers differ)."""


@pytest.mark.slow
@pytest.mark.parametrize("mistake", MISTAKES)
def test_these_tests_see_mistakes(mistake: str, host, monkeypatch: pytest.MonkeyPatch) -> None:
    right, wrong, message = MISTAKES[mistake]
    build = cuda.build

    def build_wrong(source: str, architecture: str) -> bytes:
        assert source.count(right) == 1
        return build(source.replace(right, wrong), architecture)

    monkeypatch.setattr(cuda, "build", build_wrong)
    cpu, other = make(), make()
    with pytest.raises(AssertionError if message is None else RuntimeError, match=message):
        move_to_host(other, 4)
        place([cpu, other], spread=0.5, height=0.1)
        for i in range(3):
            other.load_state_dict(cpu.state_dict())
            step([cpu, other], stance(cpu) + 0.3 * noise(40, 12, seed=50 + i))
            assert_same_step([cpu, other])


# ---------------------------------------------------------------------- robots that cannot be held


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=GPU_MARKS)])
def test_robots_that_are_lost_are_lost_in_mujoco_too(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thrown out of the ground that they start in, some spin up until numbers are not finite.

    They are thrown no more since contacts are bounded in depth, which is taken back here.

    From where each was three policy steps before, MuJoCo loses it too. It may take one step more: numbers of 64
    bits last longer.
    """
    n, last = 1024, 3
    monkeypatch.setattr(surface, "DEEPEST", 1e9)
    engine = make("field", n, device=device)
    place([engine], spread=0.3, height=-0.3)
    parts = LIVE[:6]
    states, targets = [], []
    lost_at = torch.full((n,), -1)
    for i in range(50):
        states.append([getattr(engine, name).cpu().clone() for name in parts])
        targets.append(stance(engine) + 0.3 * noise(n, 12, seed=i))
        step([engine], targets[-1])
        lost_at[engine.bad.cpu() & (lost_at < 0)] = i
    rows = (lost_at >= last).nonzero().squeeze(1)
    assert len(rows) > 50
    start = lost_at[rows] - last + 1

    mujoco = MujocoEngine(ANYMAL_C, GROUNDS["field"], len(rows), num_threads=2)
    state = [torch.stack(part)[start, rows] for part in zip(*states, strict=True)]
    mujoco.write_state(torch.ones(len(rows), dtype=torch.bool), *state)
    lost = torch.zeros(len(rows), dtype=torch.bool)
    for i in range(last + 1):
        if i == last:
            assert lost.float().mean() > 0.6  # in the very same step
        mujoco.step(torch.stack(targets)[(start + i).clamp(max=49), rows], 4)
        lost |= mujoco.bad
    assert lost.all()


# ---------------------------------------------------------------------- without packages, without a device


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    with pytest.raises(NoCuda, match="cuda-bindings") as error:
        cuda.build("", "sm_90")
    assert "\n" not in str(error.value)


def test_missing_device_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(NoCuda, match="finds no CUDA device"):
        make(device="cuda")
    assert find_device("cpu") == torch.device("cpu")


# ---------------------------------------------------------------------- NVRTC


@pytest.fixture
def nvrtc() -> None:
    try:
        cuda._packages()
    except NoCuda as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("threads", [4, 1])
@pytest.mark.parametrize("ground", GROUNDS)
@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
def test_nvrtc_compiles(architecture: str, ground: str, threads: int, nvrtc) -> None:
    source = cuda_source(generated(make(ground)), threads)
    code, log = compile_cuda(source, architecture, "--ptxas-options=-v")
    assert code[:4] == b"\x7fELF"
    registers = re.findall(r"Used (\d+) registers", log)
    memory = re.findall(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+)", log)
    assert len(registers) == len(memory) == 2, "the step, and placing robots"
    for count, (stack, stores, loads) in zip(registers, memory, strict=True):
        print(f"{count} registers, {stack} bytes of stack, {stores} and {loads} bytes of spills")
        assert int(stores) < 512, "the step should fit into registers"


def test_nvrtc_takes_constants_that_are_infinite(nvrtc) -> None:
    table = "TABLE float limits[1][2] = {{-INFINITY, INFINITY}};\n"
    kernel = (
        'extern "C" __global__ void step(float* p) { p[threadIdx.x] = limits[0][threadIdx.x] + INFINITY; }'
    )
    header = cuda_source("", 1).split("// One call of the engine")[0]
    assert compile_cuda(header + table + kernel, "sm_90")[0]


def test_nvrtc_compiles_other_shapes(nvrtc, tmp_path: Path) -> None:
    for what, threads in DESIGNS.values():
        engine = make(robot=make_robot(what, tmp_path), num_envs=16)
        assert compile_cuda(cuda_source(generated(engine), threads), "sm_90")[0]


def test_machine_code_is_kept(nvrtc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TROT_CACHE", str(tmp_path))
    source = 'extern "C" __global__ void step() {}'
    code = cuda.build(source, "sm_90")
    (kept,) = tmp_path.iterdir()
    monkeypatch.setattr(cuda, "compile_cuda", None)
    assert cuda.build(source, "sm_90") == code == kept.read_bytes()


def test_first_error_is_told(nvrtc) -> None:
    with pytest.raises(NoCuda, match="NVRTC fails for sm_90: .*identifier .missing. is undefined"):
        compile_cuda("__device__ int x = missing;", "sm_90")


# ---------------------------------------------------------------------- on a GPU


@needs_gpu
@pytest.mark.parametrize("ground", GROUNDS)
def test_gpu_computes_what_the_cpu_does(ground: str) -> None:
    engines = [make(ground, 1000), make(ground, 1000, device="cuda"), make(ground, 1000, device="cuda")]
    one = engines[2]  # one thread a robot
    one._stepper = CudaStepper(generated(one), 1, one._arrays, one.ground)
    place(engines, spread=0.5, height=0.1)
    for i in range(10):
        for engine in engines[1:]:
            engine.load_state_dict(engines[0].state_dict())
        step(engines, stance(engines[0]) + 0.3 * noise(1000, 12, seed=10 + i), delayed=i % 3 == 0)
        assert_same_step(engines)


@needs_gpu
def test_gpu_walks_fifty_steps_like_the_cpu() -> None:
    assert_same_walk(make(num_envs=1000), make(num_envs=1000, device="cuda"))


@needs_gpu
@pytest.mark.parametrize("design", DESIGNS)
def test_gpu_steps_robots_of_other_shapes(design: str, tmp_path: Path) -> None:
    robot = make_robot(DESIGNS[design][0], tmp_path)
    cpu, other = make(robot=robot, num_envs=20), make(robot=robot, num_envs=20, device="cuda")
    place([cpu, other], spread=0.3, height=0.1, robot=robot)
    for i in range(5):
        other.load_state_dict(cpu.state_dict())
        step([cpu, other], 0.3 * noise(20, len(cpu.joint_names), seed=40 + i))
        assert_same_step([cpu, other])


@needs_gpu
def test_gpu_derives_the_weights_of_the_cpu() -> None:
    cpu, other = make(num_envs=100), make(num_envs=100, device="cuda")
    mass, friction = 20.0 + noise(100, seed=1).abs(), 0.5 + 0.5 * noise(100, seed=2).abs()
    rows = torch.arange(100) % 3 > 0
    for engine in (cpu, other):
        at = engine.device
        engine.set_params(rows.to(at), base_mass=mass.to(at), friction=friction.to(at))
        engine.set_params(rows.to(at), armature=torch.full((100, 12), 0.05, device=at))
    for name, array in cpu.state_dict().items():
        torch.testing.assert_close(other.state_dict()[name].cpu(), array, rtol=1e-5, atol=1e-6, msg=name)


@needs_gpu
def test_gpu_repeats_its_bits_eagerly_and_in_a_graph() -> None:
    engine = make("field", 500, device="cuda")
    place([engine], spread=0.3, height=0.3)
    start = engine.state_dict()
    targets = stance(engine).to(engine.device) + 0.1 * noise(500, 12, seed=60).to(engine.device)

    def walk(once) -> dict[str, Tensor]:
        engine.load_state_dict(start)
        for _ in range(10):
            once()
        return engine.state_dict()

    eager = walk(lambda: engine.step(targets, 4))
    again = walk(lambda: engine.step(targets, 4))
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        engine.step(targets, 4)
    replayed = walk(graph.replay)
    for name, array in eager.items():
        assert torch.equal(array, again[name]) and torch.equal(array, replayed[name]), name


@needs_gpu
def test_gpu_is_not_waited_for() -> None:
    engine = make(num_envs=64, device="cuda")
    place([engine], spread=0.1, height=0.6)
    mask, targets = everyone(engine), stance(engine).to(engine.device)
    zero, switch = (
        torch.zeros(64, 3, device=engine.device),
        torch.ones(64, dtype=torch.int64, device=engine.device),
    )
    state = [x.clone() for x in (engine.base_pos, engine.base_quat, zero, zero, targets, engine.joint_vel)]
    torch.cuda.set_sync_debug_mode("error")
    try:
        engine.step(targets, 4)
        engine.step(targets, 4, targets, switch)
        engine.write_state(mask, *state)
        engine.set_base_velocity(mask, zero, zero)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@needs_gpu
def test_gpu_keeps_many_robots_finite() -> None:
    engine = make("field", 65536, device="cuda")
    place([engine], spread=0.3, height=0.9)  # above the ground: it would throw out those that start in it
    targets = stance(engine).to(engine.device)
    for i in range(50):
        random = torch.randn(
            targets.shape, generator=torch.Generator("cuda").manual_seed(i), device=engine.device
        )
        engine.step(targets + 0.3 * random, 4)
    assert not engine.bad.any() and all(getattr(engine, name).isfinite().all() for name in LIVE)


@needs_gpu
def test_gpu_compiles_dry_friction_when_it_is_asked_for() -> None:
    cpu, other = make(), make(device="cuda")
    for engine in (cpu, other):
        engine.set_params(everyone(engine), friction_loss=torch.full((40, 12), 1.5, device=engine.device))
    place([cpu, other], spread=0.1, height=0.55)
    for i in range(5):
        other.load_state_dict(cpu.state_dict())
        step([cpu, other], stance(cpu) + 0.2 * noise(40, 12, seed=70 + i))
        assert_same_step([cpu, other])
