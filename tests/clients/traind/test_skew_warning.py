import pytest

from traind.version import __version__
from traind.version_skew import skew_warning


@pytest.mark.parametrize(
    ("client", "server", "least"),
    [
        ("0.1.0", "0.1.0", "0.1.0"),
        ("0.1.0", "0.1.9", ""),
        ("0.1.0", "0.2.0", "0.1.0"),
        ("0.3.0", "0.2.5", "0.1.0"),
        ("1.9.0", "1.10.0", "1.9"),
        ("0.4.2.dev1", "0.5.0rc1", "0.4.2"),
        # Not to be read, so nothing is claimed.
        ("0.1.0", "", ""),
        ("0.1.0", "unknown", ""),
        ("dev", "0.9.0", "0.8.0"),
        (__version__, __version__, __version__),
    ],
)
def test_versions_that_go_together(client, server, least):
    assert skew_warning(client, server, least) is None


@pytest.mark.parametrize(
    ("client", "server", "least", "cure"),
    [
        ("0.1.0", "0.3.0", "", "upgrade the client"),
        ("0.4.0", "0.2.9", "", "have the server upgraded"),
        ("0.9.0", "1.9.0", "", "upgrade the client"),
        ("2.0.0", "1.9.0", "", "have the server upgraded"),
        ("1.9.0", "1.11.0", "", "upgrade the client"),
        ("0.1.0", "0.2.0", "0.1.1", "0.1.1 or newer; upgrade the client to 0.2.0"),
        ("0.9.0", "0.10.0", "0.10", "upgrade the client to 0.10.0"),
        ("0.1.0", "", "0.2.0", "upgrade the client to 0.2.0"),
    ],
)
def test_versions_that_are_too_far_apart_are_told_with_the_cure(client, server, least, cure):
    told = skew_warning(client, server, least)
    assert cure in told
    assert client in told
    assert server in told
