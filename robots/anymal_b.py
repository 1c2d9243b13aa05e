"""ANYmal B (ANYbotics): 31 kg quadruped, ANYmal C's smaller predecessor with the same drives."""

from dataclasses import replace

from robots.anymal_c import ANYMAL_C

ANYMAL_B = replace(ANYMAL_C, name="anymal_b", mjcf="anymal_b.xml")
