"""Figures that need no display, and their bytes as PNG: the same on every day, with no date in them."""

import io

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

GREY, BLUE = "#8a8f98", "#0b6e99"


def canvas(width: float, height: float, dpi: int = 120) -> Figure:
    """An empty figure of so many inches."""
    figure = Figure(figsize=(width, height), dpi=dpi, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def png(figure: Figure) -> bytes:
    """The figure as a PNG file's bytes."""
    content = io.BytesIO()
    figure.savefig(content, format="png", metadata={"Software": None})
    return content.getvalue()
