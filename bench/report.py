"""What was measured, as a table and as a picture."""

import io
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import matplotlib as mpl
from matplotlib.figure import Figure

mpl.rcParams["svg.hashsalt"] = "bench"  # the same figures, the same file
mpl.rcParams["svg.fonttype"] = "none"  # text as text, a tenth of the size
mpl.rcParams["font.family"] = "sans-serif"
_COLOURS: Final = {"edge": "#3ecf8e"}
_OTHERS: Final = "#9aa0a6"


@dataclass(frozen=True)
class Run:
    """One run of the load generator: requests a second, and latencies."""

    rps: float
    p50_ms: float
    p99_ms: float


Results = Mapping[str, Mapping[int, Sequence[Run]]]  # by candidate, by number of callers


def _figures(runs: Sequence[Run], value: Callable[[Run], float]) -> tuple[float, float, float]:
    values = [value(run) for run in runs]
    return statistics.median(values), min(values), max(values)


def table(results: Results) -> str:
    """A Markdown table: requests a second (median, lowest to highest), latency in milliseconds, and what `raw` is."""
    lines = [
        "| candidate | callers | requests/s | spread | p50 ms | p99 ms | of raw |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for name, by_callers in results.items():
        for callers, runs in by_callers.items():
            rps, lowest, highest = _figures(runs, lambda run: run.rps)
            p50, p99 = (_figures(runs, value)[0] for value in (lambda run: run.p50_ms, lambda run: run.p99_ms))
            raw = statistics.median(run.rps for run in results["raw"][callers]) if "raw" in results else rps
            lines.append(
                f"| {name} | {callers} | {rps:,.0f} | {lowest:,.0f} to {highest:,.0f} | {p50:.2f} | {p99:.2f} "
                f"| {rps / raw:.2f} |"
            )
    return "\n".join(lines)


def _milliseconds(value: float, _position: int | None = None) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}" if value >= 1 else f"{value:.2f}"


def picture(results: Results) -> str:
    """An SVG: a row of bars for each number of callers, requests a second on the left and latency on the right."""
    names = [name for name in results if name != "direct"]
    callers = list(next(iter(results.values())))
    colours = [_COLOURS.get(name, _OTHERS) for name in names]
    figure = Figure(figsize=(10, 2.3 * len(callers)), layout="constrained")
    axes = figure.subplots(len(callers), 2, sharey="row")
    for row, number in zip(axes, callers, strict=True):
        left, right = row
        rps = [_figures(results[name][number], lambda run: run.rps) for name in names]
        left.barh(names, [median for median, _, _ in rps], color=colours)
        left.errorbar(
            [median for median, _, _ in rps],
            range(len(names)),
            xerr=[[median - low for median, low, _ in rps], [high - median for median, _, high in rps]],
            fmt="none",
            ecolor="#5f6368",
            capsize=2,
        )
        for y, (median, _, high) in enumerate(rps):
            left.annotate(f"{median:,.0f}", (high, y), (6, 0), textcoords="offset points", va="center", fontsize=8)
        left.margins(x=0.18)
        left.xaxis.set_major_formatter("{x:,.0f}")
        left.invert_yaxis()
        left.set_title(f"requests a second, {number} caller{'s' if number > 1 else ''}", fontsize=9, loc="left")
        for name, y, colour in zip(names, range(len(names)), colours, strict=True):
            p50 = _figures(results[name][number], lambda run: run.p50_ms)[0]
            p99 = _figures(results[name][number], lambda run: run.p99_ms)[0]
            right.plot([p50, p99], [y, y], color=colour, linewidth=3)
            right.plot([p50], [y], "o", color=colour, markersize=6)
            label = f"{_milliseconds(p50)} / {_milliseconds(p99)}"
            right.annotate(label, (p99, y), (6, 0), textcoords="offset points", va="center", fontsize=8)
        right.set_xscale("log")
        right.xaxis.set_major_formatter(_milliseconds)
        right.margins(x=0.25)
        right.set_title("latency in ms: p50 (dot) to p99", fontsize=9, loc="left")
        for axis in row:
            axis.tick_params(labelsize=8)
            axis.spines[["top", "right"]].set_visible(False)
    file = io.StringIO()
    figure.savefig(file, format="svg", facecolor="white", metadata={"Date": None})
    return file.getvalue()
