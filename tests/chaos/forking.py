"""Imported by the process that forks workers, and by no other: it ends with the run.

Without that it may outlive a test run that was killed, and its workers with it.
"""

from __future__ import annotations

import ctypes
import sys
from signal import SIGKILL

DIE_WITH_PARENT = 1
"""PR_SET_PDEATHSIG."""

if sys.platform == "linux":
    ctypes.CDLL(None).prctl(DIE_WITH_PARENT, SIGKILL)
