"""Draws what a soak has seen, which it reads as JSON from standard input: plot.py OUTPUT"""

import json
import sys

import matplotlib

matplotlib.use("svg")
matplotlib.rcParams["svg.hashsalt"] = "atfs"
from matplotlib import pyplot  # noqa: E402

run = json.load(sys.stdin)
minutes = [sample["seconds"] / 60 for sample in run["samples"]]
bounds = run["bounds"]
figure, axes = pyplot.subplots(4, 1, sharex=True, figsize=(10, 9))
rows = [
    ("rss", 1e6, "resident memory of the daemon, MB (pale: without the program's file)", bounds["rss"]),
    ("descriptors", 1, "open descriptors", None),
    ("cache", 1e6, "bytes in the cache, MB", bounds["cache"]),
    ("free", 1e6, "free on its disk, MB", bounds["floor"]),
]
for axis, (name, unit, title, bound) in zip(axes, rows):
    axis.plot(minutes, [sample[name] / unit for sample in run["samples"]], color="#3b7dd8", linewidth=0.8)
    if bound is not None:
        axis.axhline(bound / unit, color="#d86b3b", linewidth=0.8)
    axis.set_ylim(bottom=0)
    axis.set_title(title, fontsize=10, loc="left")
    axis.spines[["top", "right"]].set_visible(False)
axes[0].plot(minutes, [sample["anonymous"] / 1e6 for sample in run["samples"]], color="#8fb8ea", linewidth=0.8)
for move in run["moves"]:
    axes[0].axvline(move / 60, color="#bbbbbb", linewidth=0.5, zorder=0)
axes[-1].set_xlabel("minutes")
figure.tight_layout()
figure.savefig(sys.argv[1], metadata={"Date": None})
