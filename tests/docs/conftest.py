"""One server for all pages."""

import pytest

from tests.acceptance import stack as stacks


@pytest.fixture(scope="session")
def server():
    with stacks.up() as stack:
        yield stack
