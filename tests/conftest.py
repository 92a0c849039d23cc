"""What all tests have in common."""

from __future__ import annotations

from hypothesis import settings

# how long something takes is a matter for a benchmark: no example fails because a machine is busy
settings.register_profile("patient", settings(), deadline=None)
settings.load_profile("patient")
