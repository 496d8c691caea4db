"""How hard the fuzz tests try: the same examples each time in `make test`, others in `make torture-codegen`."""

import os

from hypothesis import HealthCheck, Phase, settings

__all__ = ["bounded"]

TORTURE = int(os.environ.get("CARRICK_TORTURE", "0"))
"""How many times the usual number of examples; 0 tries the same few each time."""


def bounded(examples: int) -> settings:
    """Return the settings of a test that usually tries this many examples."""
    return settings(
        max_examples=examples * max(TORTURE, 1),
        derandomize=not TORTURE,
        database=None,
        deadline=None,
        print_blob=True,
        phases=[Phase.explicit, Phase.generate, Phase.shrink],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
    )
