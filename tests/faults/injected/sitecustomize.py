"""Python imports this at the start of each process whose PYTHONPATH names its folder: those of the fault tests' stacks.

FAULTS_FOLDER says where the test writes what shall happen; without it nothing does.
"""

import os

if os.environ.get("FAULTS_FOLDER"):
    from tests.faults import injection

    injection.install()
