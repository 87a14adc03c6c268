import pytest

from traind import errors
from traind.retries import LARGEST_DELAY_S, back_off, delay_before_retry


def test_back_off_doubles_with_jitter_up_to_a_limit():
    for attempt, whole in ((1, 0.5), (2, 1.0), (3, 2.0), (20, LARGEST_DELAY_S)):
        delays = [back_off(attempt) for _ in range(200)]
        assert whole / 2 <= min(delays) < max(delays) <= whole


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (errors.ConnectionFailed("x"), True),
        (errors.Unavailable("x"), True),
        (errors.Unavailable("x", retry_after=3.0), True),
        (errors.RateLimited("x", retry_after=2.0), True),
        (errors.RateLimited("x"), False),
        (errors.TimedOut("x"), False),
        (errors.TooLarge("x"), False),
        (errors.ServerError("x"), False),
        (errors.InvalidSpec("x"), False),
    ],
)
def test_what_is_sent_again(error, again):
    delay = delay_before_retry(error, 1, repeatable=True, max_retries=2)
    assert (delay is not None) is again
    if again:
        assert delay >= (error.retry_after or 0)
    assert delay_before_retry(error, 1, repeatable=False, max_retries=2) is None
    assert delay_before_retry(error, 3, repeatable=True, max_retries=2) is None
