"""What came out: a table, JSON, and the page in docs/."""

import json
import subprocess
import sys
import venv
from pathlib import Path
from statistics import median

from world import REPOSITORY, TARGET, WORK, call, say

MATPLOTLIB = "matplotlib==3.10.3"
PAGE = REPOSITORY / "docs/benchmarks.md"
PLOT = REPOSITORY / "docs/benchmarks.svg"
BEGIN, END = "<!-- the last run -->", "<!-- its end -->"
HISTORY = "<!-- newest first -->"


class Row:
    """A workload with the medians of everybody."""

    def __init__(self, workload, samples):
        self.workload = workload
        self.samples = samples
        unit = workload.unit
        self.rates = {name: median(s.rate(unit) for s in runs) for name, runs in samples.items()}
        peers = [name for name in self.rates if name not in ("native", "atfs")]
        self.best_peer = max(peers, key=self.rates.get, default=None)

    def ratio(self, other):
        """atfs against another: the median of the ratios within a round, which were measured side by side."""
        ours, theirs = self.samples.get("atfs"), self.samples.get(other)
        if not ours or not theirs:
            return None
        unit = self.workload.unit
        return median(a.rate(unit) / b.rate(unit) for a, b in zip(ours, theirs))

    def mid(self, value):
        ours = self.samples.get("atfs")
        return median(value(s) for s in ours) if ours else None

    def value(self, target):
        return {
            "native": lambda: self.ratio("native"),
            "peer": lambda: self.best_peer and self.ratio(self.best_peer),
            "bytes": lambda: self.mid(lambda s: s.fetched / s.bytes),
            "seconds": lambda: self.mid(lambda s: s.seconds),
        }[target.of]()

    def verdicts(self):
        """(target, value, whether it is met), of those that could be measured."""
        for target in self.workload.targets:
            value = self.value(target)
            if value is not None:
                yield target, value, target.met(value)

    def verdict(self):
        """`ok`, or what is below; nothing where nothing was asked."""
        found = list(self.verdicts())
        missed = [f"below ({target})" for target, _, met in found if not met]
        return "; ".join(missed) if missed else ("ok" if found else "")


def number(value):
    if value is None:
        return "-"
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


HEADINGS = ["work", "state", "unit", "native", "atfs", "best peer", "/ native", "/ peer", "target", "verdict", "requests",
            "fetched", "CPU s"]


def cells(row):
    w = row.workload
    peer = f"{number(row.rates[row.best_peer])} {row.best_peer}" if row.best_peer else "-"
    fetched = row.mid(lambda s: s.fetched / s.bytes if s.bytes else 0)
    return [
        w.name, w.state, w.unit, number(row.rates.get("native")), number(row.rates.get("atfs")), peer,
        number(row.ratio("native")), number(row.best_peer and row.ratio(row.best_peer)),
        ", ".join(map(str, w.targets)), row.verdict(), f"{row.mid(lambda s: s.requests) or 0:,.0f}",
        f"{fetched or 0:.2f}x", number(row.mid(lambda s: s.cpu)),
    ]


def print_table(rows, memory):
    lines = [HEADINGS, *(cells(row) for row in rows)]
    widths = [max(len(line[n]) for line in lines) for n in range(len(HEADINGS))]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip())
    print("peak RSS: " + ", ".join(f"{name} {bytes / 1e6:,.0f} MB" for name, bytes in memory.items()))


def machine():
    cpu = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "")
    cores = sum(1 for line in open("/proc/cpuinfo") if line.startswith("processor"))
    memory = int(next(line for line in open("/proc/meminfo") if line.startswith("MemTotal")).split()[1]) // 1_000_000
    kernel = Path("/proc/sys/kernel/osrelease").read_text().split("-")[0]
    disk = call(["findmnt", "-no", "FSTYPE", "-T", WORK]).strip()
    return f"{cores} cores ({cpu or 'unknown'}), {memory} GB of memory, Linux {kernel}, {disk}"


def commit():
    short = call(["git", "rev-parse", "--short", "HEAD"], cwd=REPOSITORY).strip()
    changed = call(["git", "status", "--porcelain", "--untracked-files=no"], cwd=REPOSITORY).strip()
    return short + ("+" if changed else "")


def write_json(facts, runs):
    path = WORK / f"{facts['date'].replace(':', '')}.json"
    document = {
        **facts,
        "workloads": [workload for run in runs for workload in run.to_json()],
        "peak_rss": [run.memory for run in runs],
        "counters": {when: text for run in runs for when, text in run.counters.items()},
    }
    path.write_text(json.dumps(document, indent=1) + "\n")
    say(f"written: {path}")


def write_page(facts, rows, memory):
    """The last run in full, and one line for every run before it."""
    text = PAGE.read_text()
    head = ["work", "state", "unit", "native", "atfs", "best peer", "/ native", "/ peer", "target", "", "requests", "fetched"]
    chosen = [HEADINGS.index(name) if name else HEADINGS.index("verdict") for name in head]
    table = [head, ["---"] * len(head)]
    for row in rows:
        line = cells(row)
        table.append([line[n] for n in chosen])
    about = (f"{facts['date'][:10]}, commit {facts['commit']}, {facts['machine']}; medians of {facts['rounds']}; "
             f"load {facts['load']}.")
    rss = "Peak memory: " + ", ".join(f"{name} {bytes / 1e6:,.0f} MB" for name, bytes in memory.items()) + "."
    block = "\n".join(["| " + " | ".join(line) + " |" for line in table])
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    text = f"{before}{BEGIN}\n{about}\n\n![the ratios as bars]({PLOT.name})\n\n{block}\n\n{rss}\n{END}{after}"
    ratios = "; ".join(
        f"{row.workload.name} {row.workload.state} {number(row.value(row.workload.targets[0]))}"
        for row in rows if row.workload.targets
    )
    text = text.replace(HISTORY, f"{HISTORY}\n- {facts['date'][:10]}, {facts['commit']}: {ratios}", 1)
    PAGE.write_text(text)
    plot(rows)
    say(f"written: {PAGE.relative_to(REPOSITORY)}, {PLOT.relative_to(REPOSITORY)}")


def plot(rows):
    bars = [
        {"label": f"{row.workload.title}, {row.workload.state}", "native": row.ratio("native"),
         "peer": row.best_peer and row.ratio(row.best_peer), "peer_name": row.best_peer}
        for row in rows
    ]
    draw(Path(__file__).with_name("plot.py"), json.dumps(bars), PLOT)


def draw(script, data, output):
    """By matplotlib, in an environment of its own: nothing else here needs it."""
    home = TARGET / "matplotlib"
    if not (home / "complete").exists():
        say(f"installing {MATPLOTLIB}")
        venv.create(home, with_pip=True, clear=True)
        call([home / "bin/pip", "install", "--quiet", "--disable-pip-version-check", MATPLOTLIB])
        (home / "complete").touch()
    subprocess.run([home / "bin/python", script, output], input=data, text=True, check=True, stdout=sys.stderr)
