"""ANYmal C (ANYbotics): 52 kg quadruped with four 3-joint legs on series-elastic drives."""

from robots.config import RobotConfig

ANYMAL_C = RobotConfig(
    name="anymal_c",
    mjcf="anymal_c.xml",
    init_height=0.6,
    default_joint_pos={".*_HAA": 0.0, ".F_HFE": 0.4, ".H_HFE": -0.4, ".F_KFE": -0.8, ".H_KFE": 0.8},
    stiffness={".*": 80.0},
    damping={".*": 2.0},
    effort_limit={".*": 80.0},
    velocity_limit={".*": 20.0},
    feet=("LF_FOOT", "RF_FOOT", "LH_FOOT", "RH_FOOT"),
    contact_groups={
        **{f"{leg}_FOOT": (f"{leg}_FOOT",) for leg in ("LF", "RF", "LH", "RH")},
        **{f"{leg}_SHANK": (f"{leg}_SHANK_.*",) for leg in ("LF", "RF", "LH", "RH")},
        **{f"{leg}_THIGH": (f"{leg}_KNEE",) for leg in ("LF", "RF", "LH", "RH")},
        "base": ("base_.*", ".._HIP_0"),
    },
    penalised_contacts=(".._SHANK", ".._THIGH"),
    fatal_contacts=("base",),
    mirror_names={"LF": "RF", "LH": "RH"},
    mirror_sign={".*_HAA": -1.0, ".*": 1.0},
    actuator_net="anymal_c_actuator.pt",
)
