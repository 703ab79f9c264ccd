"""The plots beside the report: throughput, latency, and what a million messages cost."""

from pathlib import Path
from typing import Final

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter, MaxNLocator

from benchmarks.results import Results
from benchmarks.systems import SYSTEMS

_OURS, _SYNCED, _UNSYNCED = "#1f6f8b", "#9aa5ab", "#d9c9a3"
_PANELS: Final[dict[str, tuple[tuple[str, str, str], ...]]] = {
    "throughput": (
        ("client_publish", "publish/s, Python client", "{:,.0f}"),
        ("client_consume", "consume + ack/s, Python client", "{:,.0f}"),
        ("raw_publish", "publish/s, raw sockets", "{:,.0f}"),
        ("raw_consume", "consume + ack/s, raw sockets", "{:,.0f}"),
    ),
    "latency": (
        ("latency_p50_ms", "publish to delivery at 1,000/s, p50 ms", "{:.2f}"),
        ("latency_p99_ms", "publish to delivery at 1,000/s, p99 ms", "{:.2f}"),
        ("client_confirm_p50_ms", "one at a time, confirm p50 ms", "{:.2f}"),
        ("connections_publish", "500 connections, publish/s", "{:,.0f}"),
    ),
    "cost": (
        ("client_cpu", "broker CPU s per million, Python client", "{:.1f}"),
        ("raw_cpu", "broker CPU s per million, raw sockets", "{:.1f}"),
        ("idle_rss_mb", "idle RSS MB", "{:,.0f}"),
        ("peak_rss_mb", "peak RSS MB", "{:,.0f}"),
    ),
}


def draw_plots(results: Results, directory: Path) -> list[Path]:
    """Draw every plot that has a figure; return the files."""
    drawn: list[Path] = []
    for name, panels in _PANELS.items():
        if not any(results.summary(system, measure) for measure, _, _ in panels for system in SYSTEMS):
            continue
        directory.mkdir(parents=True, exist_ok=True)
        figure, axes = pyplot.subplots(2, 2, figsize=(11, 6.5), layout="constrained")
        for axis, (measure, title, form) in zip(axes.flat, panels, strict=True):
            _bars(axis, results, measure, title, form)
        figure.suptitle("100 B messages, median and range; grey: synced peers, sand: not synced", fontsize=10)
        path = directory / f"{name}.png"
        figure.savefig(path, dpi=110)
        pyplot.close(figure)
        drawn.append(path)
    return drawn


def _bars(axis: Axes, results: Results, measure: str, title: str, form: str) -> None:
    present = [(name, summary) for name in SYSTEMS if (summary := results.summary(name, measure))]
    axis.set_title(title, fontsize=10)
    axis.spines[["top", "right"]].set_visible(False)
    if not present:
        axis.set_axis_off()
        return
    names = [name for name, _ in present]
    medians = [summary.median for _, summary in present]
    spread = [
        [summary.median - summary.low for _, summary in present],
        [summary.high - summary.median for _, summary in present],
    ]
    bars = axis.barh(names, medians, xerr=spread, color=[_color(name) for name in names], ecolor="#444444")
    axis.bar_label(bars, labels=[form.format(median) for median in medians], padding=4, fontsize=8)
    axis.invert_yaxis()
    axis.margins(x=0.18)
    axis.xaxis.set_major_locator(MaxNLocator(4))
    axis.xaxis.set_major_formatter(EngFormatter())


def _color(name: str) -> str:
    if name == "penstock":
        return _OURS
    return _SYNCED if SYSTEMS[name].synced else _UNSYNCED
