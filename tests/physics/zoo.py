"""A quadruped as public collections of models write one: with a world, drives and contacts of its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from robots import GO2, RobotConfig

SHELL = "v -.1 -.1 0\nv .1 -.1 0\nv 0 .1 0\nv 0 0 .1\nf 1 3 2\nf 1 2 4\nf 2 3 4\nf 3 1 4\n"
"""An OBJ file."""
HEAD = """<mujoco model="zoo">
  <compiler angle="radian" autolimits="true" meshdir="assets"/>
  <option timestep="0.004" cone="elliptic" impratio="100" iterations="7"/>
  <size njmax="40" nconmax="9"/>
  <default>
    <geom condim="4" friction="0.4" margin="0.003" solref="0.06 1" group="1" contype="2" conaffinity="2"/>
    <joint damping="0.5" armature="0.01" frictionloss="0.1"/>
    <position kp="90" gear="3" ctrlrange="-1 1" forcerange="-2 2"/>
    <default class="zoo">
      <joint axis="0 1 0"/>
      <default class="abduction"><joint axis="1 0 0" range="-1 1" actuatorfrcrange="-24 24"/></default>
      <default class="hip"><joint range="-1.5 3.4"/></default>
      <default class="knee"><joint range="-2.7 -0.8" damping="0.7"/></default>
      <default class="visual">
        <geom type="mesh" mesh="shell" material="paint" contype="0" conaffinity="0" group="2" density="0"/>
      </default>
      <default class="collision">
        <geom type="sphere" group="3" contype="1" conaffinity="1"/>
        <default class="foot"><geom size="0.022" condim="6" priority="1" solimp="0.015 1 0.022"/></default>
      </default>
    </default>
  </default>
  <asset>
    <mesh name="shell" file="shell.obj"/>
    <texture name="sky" type="skybox" builtin="gradient" width="8" height="8"/>
    <texture name="ground" type="2d" builtin="checker" width="8" height="8"/>
    <material name="ground" texture="ground"/>
    <material name="paint" rgba="0.8 0.3 0.1 1"/>
  </asset>
  <worldbody>
    <light name="sun" pos="0 0 3" mode="targetbodycom" target="base"/>
    <camera name="side" pos="0 -2 1"/>
    <geom name="ground" type="plane" size="0 0 1" material="ground" contype="1" conaffinity="1"/>
    <body name="table" pos="2 0 0"><geom type="box" size="0.3 0.3 0.3"/></body>
    <body name="base" pos="0 0 0.4" childclass="zoo">
      <freejoint/>
      <inertial pos="0.02 0 0" mass="6.9" fullinertia="0.025 0.098 0.107 0.0001 0.001 0"/>
      <camera name="tracking" mode="trackcom" pos="0 -1 0"/>
      <site name="imu"/>
      <geom class="visual"/>
      <geom class="collision" pos="0.15 0 0" size="0.08"/>
      <geom class="collision" pos="-0.15 0 0" size="0.08"/>
      <body name="lidar" pos="0.25 0 0.05" euler="0.1 0.2 0.3">
        <geom class="visual" density="400"/>
        <geom class="visual" type="box" mesh="" size="0.02 0.03 0.02" density="900"/>
      </body>
"""
LEG = """
      <body name="{leg}_hip" pos="{x} {y} 0">
        <inertial pos="0 0 0" mass="0.678" diaginertia="0.0005 0.0009 0.0006"/>
        <joint name="{leg}_hip_joint" class="abduction"/>
        <geom class="visual"/>
        <geom name="{leg}_hip_0" class="collision" size="0.04"/>
        <body name="{leg}_thigh" pos="0 {wide} 0">
          <inertial pos="0 0 -0.03" mass="1.152" diaginertia="0.006 0.006 0.001"/>
          <joint name="{leg}_thigh_joint" class="hip"/>
          <geom class="visual"/>
          <geom class="collision" name="{leg}_thigh_0" size="0.02" pos="0 0 -0.15"/>
          <body name="{leg}_calf" pos="0 0 -0.213">
            <inertial pos="0 0 -0.1" mass="0.154" diaginertia="0.0014 0.0014 0.0001"/>
            <joint name="{leg}_calf_joint" class="knee"/>
            <geom class="visual"/>
            <geom class="collision" size="0.02"/>
            <geom class="collision" size="0.014" pos="0.01 0 -0.1"/>
            <body name="{leg}_foot" pos="0 0 -0.213" quat="0.9 0.1 0.2 0.3">
              <inertial pos="0.003 0 0.002" mass="0.04" diaginertia="0.00001 0.00002 0.000015"/>
              <geom class="visual"/>
              <geom class="foot"/>
              <site name="{leg}_sole"/>
            </body>
          </body>
        </body>
      </body>
"""
LEGS = {"FL": (0.19, 0.047), "FR": (0.19, -0.047), "RL": (-0.19, 0.047), "RR": (-0.19, -0.047)}
JOINTS = [f"{leg}_{part}_joint" for leg in LEGS for part in ("hip", "thigh", "calf")]


def zoo_xml() -> str:
    """The MJCF; it reads assets/shell.obj."""
    legs = (LEG.format(leg=leg, x=x, y=y, wide=2 * y) for leg, (x, y) in LEGS.items())
    drives = "".join(f'<position name="{joint}" joint="{joint}"/>' for joint in JOINTS)
    touch = "".join(f'<touch name="{leg}_touch" site="{leg}_sole"/>' for leg in LEGS)
    excluded = "".join(f'<exclude body1="base" body2="{leg}_hip"/>' for leg in LEGS)
    pose = "0 0 0.4 1 0 0 0" + " 0 0.9 -1.5" * 4
    return (
        f"{HEAD}{''.join(legs)}</body></worldbody><actuator>{drives}</actuator>"
        f'<sensor><gyro name="gyro" site="imu"/>{touch}</sensor><contact>{excluded}</contact>'
        f'<keyframe><key name="home" qpos="{pose}"/></keyframe></mujoco>'
    )


def write_zoo(folder: Path, *edits: tuple[str, str]) -> RobotConfig:
    """Write the MJCF and its mesh, with texts replaced (each must be there), and configure it as one would Go2."""
    xml = zoo_xml()
    for old, new in edits:
        assert old in xml, old
        xml = xml.replace(old, new)
    (folder / "assets").mkdir(exist_ok=True)
    (folder / "assets" / "shell.obj").write_text(SHELL)
    (folder / "zoo.xml").write_text(xml)
    return replace(GO2, name="zoo", mjcf=str(folder / "zoo.xml"))
