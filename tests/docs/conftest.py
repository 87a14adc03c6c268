"""One server for all pages."""

import pytest

from tests.acceptance import stack as stacks


@pytest.fixture(scope="package")
def server():
    with stacks.up() as stack:
        yield stack
