"""Cassie (Agility Robotics): 30 kg biped with two 6-joint legs."""

from robots.config import RobotConfig

CASSIE = RobotConfig(
    name="cassie",
    mjcf="cassie.xml",
    init_height=1.0,
    default_joint_pos={
        "hip_abduction_left": 0.1,
        "hip_abduction_right": -0.1,
        "hip_rotation_.*": 0.0,
        "hip_flexion_.*": 1.0,
        "thigh_joint_.*": -1.8,
        "ankle_joint_.*": 1.57,
        "toe_joint_.*": -1.57,
    },
    stiffness={"hip_(abduction|rotation)_.*": 100.0, "toe_joint_.*": 40.0, ".*": 200.0},
    damping={"hip_(abduction|rotation)_.*": 3.0, "toe_joint_.*": 1.0, ".*": 6.0},
    effort_limit={"hip_(abduction|rotation)_.*": 112.0, "toe_joint_.*": 45.0, ".*": 195.0},
    velocity_limit={"hip_(abduction|rotation)_.*": 20.1475, "toe_joint_.*": 20.5192, ".*": 20.5085},
    # a foot's own geom is its middle; the group of the same name has both its ends as well
    feet=("left_foot", "right_foot"),
    contact_groups={
        **{f"{side}_foot": (f"{side}_foot.*",) for side in ("left", "right")},
        **{f"{side}_tarsus": (f"{side}_tarsus_.*",) for side in ("left", "right")},
        **{f"{side}_shin": (f"{side}_shin_.*",) for side in ("left", "right")},
        "base": ("base_0",),
    },
    penalised_contacts=(".*_tarsus", ".*_shin"),
    fatal_contacts=("base",),
    mirror_names={"left": "right"},
    mirror_sign={"hip_(abduction|rotation)_.*": -1.0, ".*": 1.0},
)
