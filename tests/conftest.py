"""Settings of the whole suite."""

from __future__ import annotations

import os

from hypothesis import settings

# In continuous integration property tests draw the same examples every time, so that a run fails
# for what changed; everywhere else they go on looking.
settings.register_profile("ci", derandomize=True, deadline=None)
settings.register_profile("local", deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "local")
