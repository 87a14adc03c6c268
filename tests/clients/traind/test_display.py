import math

from traind.display import cut, duration, figure, sparkline, table, width_of


def test_sparkline_falls():
    assert sparkline([8, 7, 6, 5, 4, 3, 2, 1]) == "█▇▆▅▄▃▂▁"
    assert sparkline([]) == ""
    assert sparkline([3.0]) == "▁"
    assert sparkline([2.0, 2.0]) == "▁▁"
    assert sparkline(range(1000), 4)[0] < sparkline(range(1000), 4)[3]
    assert len(sparkline(range(1000), 4)) == 4


def test_sparkline_shows_what_is_not_finite():
    assert sparkline([1, math.inf, math.nan, 2], 4) == "▁✕✕█"
    assert sparkline([math.nan, math.nan]) == "✕✕"
    # One bad value in a stretch of many is not lost.
    values = [1.0] * 100
    values[50] = math.inf
    assert "✕" in sparkline(values, 4)
    assert sparkline([-1.7e308, 1.7e308]) == "▁█"


def test_sparkline_of_many_decades_is_logarithmic():
    assert sparkline([10.0**-i for i in range(8)]) == "█▇▆▅▄▃▂▁"
    assert sparkline([1e-300, 1e300]) == "▁█"
    assert sparkline([0.0, 1e-9, 1.0]) == "▁▁█"


def test_figures():
    assert [figure(value) for value in (0.21345, 1e-9, math.inf, -math.inf, math.nan)] == [
        "0.2135",
        "1e-09",
        "inf",
        "-inf",
        "nan",
    ]


def test_durations():
    seconds = (0.0012, 0.4, 1.4, 9.97, 53.4, 59.9, 130, 3780)
    assert [duration(s) for s in seconds] == [
        "1 ms",
        "0.4 s",
        "1.4 s",
        "10 s",
        "53 s",
        "1 min 00 s",
        "2 min 10 s",
        "1 h 03 min",
    ]


def test_hangul_takes_two_columns():
    assert width_of("펭귄 a") == 6
    assert width_of("e\u0301") == 1
    assert cut("펭귄펭귄", 5) == "펭귄…"
    assert cut("abc", 3) == "abc"
    lines = table(("NAME", "N"), [("펭귄", "1"), ("abcdef", "22")]).splitlines()
    assert lines == ["NAME    N", "펭귄    1", "abcdef  22"]


def test_text_from_outside_cannot_move_the_cursor():
    assert "\x1b" not in table(("A",), [("\x1b[2Jx\r",)])


def test_paint_takes_no_room():
    lines = table(("A", "B"), [("x", "y")], lambda cell: f"\x1b[31m{cell}\x1b[0m" if cell == "x" else cell)
    assert lines.splitlines() == ["A  B", "\x1b[31mx\x1b[0m  y"]
