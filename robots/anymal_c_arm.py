"""ANYmal C with a folded arm bolted to its front: a fifth heavier, and heavier in front."""

from dataclasses import replace

from robots.anymal_c import ANYMAL_C

ANYMAL_C_ARM = replace(
    ANYMAL_C,
    name="anymal_c_arm",
    mjcf="anymal_c_arm.xml",
    contact_groups={**ANYMAL_C.contact_groups, "base": ("base_.*", ".._HIP_0", "arm_.*")},
)
