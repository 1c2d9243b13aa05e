"""Go2 (Unitree): 15 kg quadruped, Go1's successor."""

from dataclasses import replace

from robots.a1 import A1

GO2 = replace(
    A1,
    name="go2",
    mjcf="go2.xml",
    init_height=0.4,
    stiffness={".*": 25.0},
    # newer descriptions of the robot say 45.43 N m at the calf
    effort_limit={".*_calf_joint": 35.55, ".*": 23.7},
    velocity_limit={".*_calf_joint": 20.07, ".*": 30.1},
)
