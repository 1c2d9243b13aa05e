"""A policy on a robot, from policy.json and policy.onnx alone. Per joint: in the robot's own order, `joints`."""

import json
from pathlib import Path

import numpy as np
import onnxruntime


class Policy:
    def __init__(self, folder, joints):
        self.facts = facts = json.loads((Path(folder) / "policy.json").read_text())
        self.session = onnxruntime.InferenceSession(str(Path(folder) / "policy.onnx"))
        self.order = [joints.index(name) for name in facts["joint_names"]]  # the robot's -> the policy's
        self.back = np.argsort(self.order)
        names = "default_joint_pos", "stiffness", "damping", "effort_limit"
        self.default, self.kp, self.kd, self.limit = (np.array(facts[x])[self.back] for x in names)
        self.start()

    def start(self):  # before the first step: no previous action, and an empty memory if the policy has one
        self.action = np.zeros(len(self.order))
        self.memory = {x.name: np.zeros((1, x.shape[1]), np.float32) for x in self.session.get_inputs()[1:]}

    def act(self, obs):  # scaled observation -> action, in the policy's order
        (self.action,), *memory = self.session.run(None, {"obs": np.array([obs], np.float32), **self.memory})
        self.memory = dict(zip(self.memory, memory, strict=True))
        return self.action

    def targets(self, quat, gyro, velocity, command, joint_pos, joint_vel):  # rad; policy_rate times a second
        (w, x, y, z), angles = quat, joint_pos - self.default
        gravity = [2 * (w * y - x * z), -2 * (w * x + y * z), 2 * (x * x + y * y) - 1]
        values = {"base_lin_vel": velocity, "base_ang_vel": gyro, "projected_gravity": gravity}
        values |= {"command": command, "previous_action": self.action}
        values |= {"joint_pos": angles[self.order], "joint_vel": joint_vel[self.order]}
        obs = [np.multiply(values[term["function"]], term["scale"]) for term in self.facts["observations"]]
        return self.default + self.facts["action_scale"] * self.act(np.concatenate(obs))[self.back]

    def torques(self, targets, joint_pos, joint_vel):  # N m, as often as the drives take them
        return np.clip(self.kp * (targets - joint_pos) - self.kd * joint_vel, -self.limit, self.limit)
