"""Settings for all tests: nothing is fetched, and property tests are repeatable where nobody watches."""

import os

from hypothesis import settings

for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE"):
    os.environ.setdefault(name, "1")
# Locally each run explores anew; in CI the examples are fixed, so that a red run is the change's own.
settings.register_profile("local", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")
