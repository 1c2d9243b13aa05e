"""Go1 (Unitree): 13 kg quadruped, A1's successor."""

from dataclasses import replace

from robots.a1 import A1

GO1 = replace(
    A1,
    name="go1",
    mjcf="go1.xml",
    init_height=0.4,
    effort_limit={".*_calf_joint": 35.55, ".*": 23.7},
    velocity_limit={".*_calf_joint": 20.06, ".*": 30.1},
)
