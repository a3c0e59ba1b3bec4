"""How measurements are told: one line each, with the floor, the ratio and the aim."""

import statistics
from collections.abc import Sequence


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value below which `share` of the values lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def p50(values: Sequence[float]) -> float:
    """Return the median."""
    return statistics.median(values)


def tell(
    what: str, ours: float, unit: str, *, floor: float | None = None, floor_name: str = "", aim: str = ""
) -> None:
    """Print one measurement."""
    line = f"{what:<58} {ours:>10.2f} {unit:<6}"
    if floor is not None:
        line += f" {floor_name} {floor:.2f} {unit}, ratio {ours / floor if floor else float('inf'):.2f}"
    print(line + (f"   (aim {aim})" if aim else ""), flush=True)
