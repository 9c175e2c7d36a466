"""The gate's picture: how far each variant's logits are from the reference's."""

import io

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from export.verdicts import ParityReport

PNG = "parity.png"
SMALLEST = 1e-9  # what a logarithmic axis shows of no difference at all


def distribution(report: ParityReport) -> bytes:
    """A PNG: over the share of all logits of the given pictures the difference that so many do not exceed."""
    figure = Figure(figsize=(9, 4), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for verdict in report.verdicts:
        if verdict.percentiles:
            axes.plot(range(101), [max(value, SMALLEST) for value in verdict.percentiles], label=str(verdict))
    axes.set_yscale("log")
    axes.set_xlabel("share of logits in %")
    axes.set_title(f"difference from {report.reference} that is not exceeded", loc="left", fontsize=10)
    axes.title.set_parse_math(False)  # an imported file may be called "$a_$.onnx"
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    content = io.BytesIO()
    figure.savefig(content, format="png", metadata={"Software": None})
    return content.getvalue()
