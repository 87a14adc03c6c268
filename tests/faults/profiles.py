"""How much of a random test is run: the same every time where it guards a change, ever new in a soak.

TRAIND_TEST_SOAK=1 chooses the soak; its seed is printed, and TRAIND_TEST_SEED sets it again.
"""

import os
import random

from hypothesis import HealthCheck, Phase, Verbosity, seed, settings
from hypothesis.stateful import run_state_machine_as_test

SOAKING = os.environ.get("TRAIND_TEST_SOAK") == "1"
LONGEST_S = 24 * 3600 if SOAKING else 300
SEED = int(os.environ.get("TRAIND_TEST_SEED", random.SystemRandom().randrange(1 << 32)))

settings.register_profile(
    "traind",
    derandomize=not SOAKING,
    database=None,
    deadline=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
    report_multiple_bugs=False,
    verbosity=Verbosity.normal,
)


def run(machine, world, lives, steps, **more):
    """Run a state machine in a world; what it finds is made as short as can be, and raised."""
    bound = type(machine.__name__, (machine,), {"world": world})
    if SOAKING:
        print(f"TRAIND_TEST_SEED={SEED}")
        bound = seed(SEED)(bound)
    size = settings(settings.get_profile("traind"), max_examples=lives, stateful_step_count=steps, **more)
    run_state_machine_as_test(bound, settings=size)


# A defect that was put in on purpose need only be found.
FIND_ONLY = (Phase.generate,)
