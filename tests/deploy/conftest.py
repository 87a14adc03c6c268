"""A migrated PostgreSQL database for programs that bring no fixture of their own."""

import pytest

from tests import servers


@pytest.fixture
def postgresql_url(_postgresql_template):
    """The URL of a database without rows, alone for this test."""
    with servers.fresh_database("postgresql", _postgresql_template) as url:
        yield url
