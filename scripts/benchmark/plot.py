"""Draws the ratios that it reads as JSON from standard input: plot.py OUTPUT"""

import json
import sys

import matplotlib

matplotlib.use("svg")
matplotlib.rcParams["svg.hashsalt"] = "atfs"
from matplotlib import pyplot  # noqa: E402

bars = json.load(sys.stdin)[::-1]
figure, axes = pyplot.subplots(1, 2, sharey=True, figsize=(12, 0.42 * len(bars) + 1.4))
for axis, key, title in zip(axes, ["native", "peer"], ["of the local disk's speed", "times the best peer's speed"]):
    values = [bar[key] or 0 for bar in bars]
    drawn = axis.barh(range(len(bars)), values, color=["#3b7dd8" if v >= 1 or key == "native" else "#d86b3b" for v in values])
    labels = [f"{value:.2f}" if value else "" for value in values]
    if key == "peer":
        labels = [f"{text} {bar['peer_name']}" if text else "" for text, bar in zip(labels, bars)]
        axis.set_xscale("symlog", linthresh=1)
    axis.bar_label(drawn, labels, padding=3, fontsize=8)
    axis.axvline(1, color="black", linewidth=0.8)
    axis.margins(x=0.2)
    axis.set_title(title, fontsize=10)
    axis.spines[["top", "right"]].set_visible(False)
axes[0].set_yticks(range(len(bars)), [bar["label"] for bar in bars], fontsize=8)
figure.tight_layout()
figure.savefig(sys.argv[1], metadata={"Date": None})
