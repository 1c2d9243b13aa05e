"""A1 (Unitree): 12 kg quadruped with four 3-joint legs on direct drives of low gear ratio."""

from robots.config import RobotConfig

A1 = RobotConfig(
    name="a1",
    mjcf="a1.xml",
    init_height=0.42,
    default_joint_pos={
        ".L_hip_joint": 0.1,
        ".R_hip_joint": -0.1,
        "F._thigh_joint": 0.8,
        "R._thigh_joint": 1.0,
        ".*_calf_joint": -1.5,
    },
    stiffness={".*": 20.0},
    damping={".*": 0.5},
    effort_limit={".*_hip_joint": 20.0, ".*": 55.0},
    velocity_limit={".*_hip_joint": 52.4, ".*": 28.6},
    feet=("FL_foot", "FR_foot", "RL_foot", "RR_foot"),
    contact_groups={
        **{f"{leg}_foot": (f"{leg}_foot",) for leg in ("FL", "FR", "RL", "RR")},
        **{f"{leg}_calf": (f"{leg}_calf_.*",) for leg in ("FL", "FR", "RL", "RR")},
        **{f"{leg}_thigh": (f"{leg}_thigh_.*",) for leg in ("FL", "FR", "RL", "RR")},
        "base": ("base_.*", ".._hip_0"),
    },
    penalised_contacts=(".._calf", ".._thigh"),
    fatal_contacts=("base",),
    mirror_names={"FL": "FR", "RL": "RR"},
    mirror_sign={".*_hip_joint": -1.0, ".*": 1.0},
)
