import pytest

from homeserver.runtime.metrics import Metrics


def test_counters_are_told_by_label() -> None:
    metrics = Metrics()
    answers = metrics.counter("answers_total", "Answers given.", "method", "status")
    answers.add("GET", "200")
    answers.add("GET", "200")
    answers.add("PUT", "403", amount=3)
    assert metrics.render() == (
        "# HELP answers_total Answers given.\n"
        "# TYPE answers_total counter\n"
        'answers_total{method="GET",status="200"} 2\n'
        'answers_total{method="PUT",status="403"} 3\n'
    )


def test_timers_tell_how_many_took_at_most_so_long() -> None:
    metrics = Metrics()
    commits = metrics.timer("commit_seconds", "Commits.", bounds=(0.5, 1))
    for seconds in (0.25, 0.5, 0.75, 2):
        commits.note(seconds)
    assert metrics.render().splitlines()[2:] == [
        'commit_seconds_bucket{le="0.5"} 2',
        'commit_seconds_bucket{le="1"} 3',
        'commit_seconds_bucket{le="+Inf"} 4',
        "commit_seconds_sum 3.5",
        "commit_seconds_count 4",
    ]


def test_gauges_are_read_when_asked_for() -> None:
    metrics = Metrics()
    line: list[int] = []
    metrics.gauge("waiting", "Those in line.", lambda: len(line))
    line.append(1)
    assert metrics.render().endswith("waiting 1\n")


def test_labels_are_escaped() -> None:
    metrics = Metrics()
    metrics.counter("x_total", "X.", "what").add('a"b\\c\nd')
    assert r'x_total{what="a\"b\\c\nd"} 1' in metrics.render()


def test_a_name_stands_for_one_metric() -> None:
    metrics = Metrics()
    metrics.counter("x_total", "X.")
    with pytest.raises(ValueError, match="two metrics called x_total"):
        metrics.counter("x_total", "X again.")
