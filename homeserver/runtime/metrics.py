"""Counters cheap enough for every request: plain numbers in dicts, put into words only when asked for.

The words are Prometheus' text format. https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar

M = TypeVar("M", bound="_Metric")
Labels = tuple[str, ...]

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Buckets for how long something took."""


class Counter:
    """Something that is counted, by the values of its labels. For one thread."""

    __slots__ = ("_labels", "values")

    def __init__(self, labels: Labels) -> None:
        self._labels = labels
        self.values: dict[Labels, float] = {}

    def add(self, *label_values: str, amount: float = 1) -> None:
        """Count `amount` more."""
        values = self.values
        values[label_values] = values.get(label_values, 0) + amount

    def lines(self, name: str) -> Iterator[str]:
        """What Prometheus reads."""
        for label_values, value in self.values.items():
            yield f"{name}{_in_braces(self._labels, label_values)} {_number(value)}"


class Timer:
    """How long something took, in buckets, by the values of its labels. For one thread."""

    __slots__ = ("_bounds", "_labels", "_sums", "_tallies")

    def __init__(self, labels: Labels, bounds: Sequence[float]) -> None:
        self._labels = labels
        self._bounds = tuple(bounds)
        self._tallies: dict[Labels, list[int]] = {}
        self._sums: dict[Labels, float] = {}

    def note(self, seconds: float, *label_values: str) -> None:
        """It took so long once."""
        tally = self._tallies.get(label_values)
        if tally is None:
            tally = self._tallies[label_values] = [0] * (len(self._bounds) + 1)
        tally[bisect_left(self._bounds, seconds)] += 1
        self._sums[label_values] = self._sums.get(label_values, 0.0) + seconds

    def lines(self, name: str) -> Iterator[str]:
        """What Prometheus reads."""
        labels = (*self._labels, "le")
        for label_values, tally in self._tallies.items():
            total = 0
            for bound, count in zip((*map(_number, self._bounds), "+Inf"), tally, strict=True):
                total += count
                yield f"{name}_bucket{_in_braces(labels, (*label_values, bound))} {total}"
            braces = _in_braces(self._labels, label_values)
            yield f"{name}_sum{braces} {_number(self._sums[label_values])}"
            yield f"{name}_count{braces} {total}"


class Gauge:
    """Something whose size is asked for when the metrics are."""

    __slots__ = ("_read",)

    def __init__(self, read: Callable[[], float]) -> None:
        self._read = read

    def lines(self, name: str) -> Iterator[str]:
        """What Prometheus reads."""
        yield f"{name} {_number(self._read())}"


class _Metric(Protocol):
    def lines(self, name: str) -> Iterator[str]:
        """What Prometheus reads."""


class Metrics:
    """All metrics of the process, each under one name."""

    def __init__(self) -> None:
        self._metrics: dict[str, tuple[str, str, _Metric]] = {}

    def counter(self, name: str, doc: str, *labels: str) -> Counter:
        """A new counter; its name ends in `_total`."""
        return self._add(name, "counter", doc, Counter(labels))

    def timer(self, name: str, doc: str, *labels: str, bounds: Sequence[float] = SECONDS) -> Timer:
        """A new timer; its name ends in `_seconds`."""
        return self._add(name, "histogram", doc, Timer(labels, bounds))

    def gauge(self, name: str, doc: str, read: Callable[[], float]) -> None:
        """A new gauge, read when the metrics are rendered."""
        self._add(name, "gauge", doc, Gauge(read))

    def render(self) -> str:
        """All of them, in the order in which they were made."""
        lines = []
        for name, (kind, doc, metric) in self._metrics.items():
            lines += [f"# HELP {name} {doc}", f"# TYPE {name} {kind}", *metric.lines(name)]
        return "\n".join(lines) + "\n"

    def _add(self, name: str, kind: str, doc: str, metric: M) -> M:
        if name in self._metrics:
            raise ValueError(f"There are two metrics called {name}")
        self._metrics[name] = (kind, doc, metric)
        return metric


def _in_braces(labels: Labels, values: Labels) -> str:
    if not labels:
        return ""
    pairs = (f'{label}="{_escaped(value)}"' for label, value in zip(labels, values, strict=True))
    return "{" + ",".join(pairs) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)
