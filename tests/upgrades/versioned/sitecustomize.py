"""Python imports this at the start of each process whose PYTHONPATH names its folder: those of test_rolling.py.

TRAIND_TEST_VERSION is the version that the process takes itself to be.
"""

import os
import sys

if os.environ.get("TRAIND_TEST_VERSION"):
    from tests.faults.injection import After

    def told(version):
        version.__version__ = os.environ["TRAIND_TEST_VERSION"]

    sys.meta_path.insert(0, After({"traind.version": told}))
