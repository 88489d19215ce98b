"""What is looked at every second, and the bounds that it must keep."""

import os
import re
import statistics
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from stage import folder_bytes
from world import cpu_seconds

# The budget of the daemon, whatever it serves.
RSS_BUDGET = 300_000_000
# What a process may have where nobody has raised it.
DESCRIPTORS = 1024
# Directories of a cache below 512 MiB come on top of its limit (src/cache/mod.rs).
DIRECTORIES = 1 << 20
# On the disk itself: the log's blocks, and those that ext4 frees a moment after a file was deleted.
DISK_SLACK = 8 << 20
FLOOR_SLACK = 1 << 20
# Within which the cache gives way to others (seconds): it looks every 5.
GIVES_WAY = 15
# A reader says something every second; a read that takes that long has no end.
SILENCE = 120
# The second quarter of a run is compared with its last one, from this length on (seconds).
GROWTH_FROM = 600
GROWTH = {"rss": 1.1, "descriptors": 1.25}
GROWTH_LEAST = {"rss": 16_000_000, "descriptors": 32}


@dataclass
class Sample:
    """Bytes, and numbers; `seconds` since the soak began."""

    seconds: float
    rss: int
    # What of it is not the program's own file.
    anonymous: int
    descriptors: int
    cache: int
    on_disk: int
    free: int
    cpu: float


class Watch:
    def __init__(self, stage):
        self.stage = stage
        self.begun = time.monotonic()
        self.samples = []
        self.violations = {}
        self.seconds_below_floor = 0
        self.enough_free = self.begun
        self.floor = stage.cache_info()["floor_bytes"]

    def sample(self):
        stage, pid = self.stage, self.stage.daemon.pid
        if stage.daemon.poll() is not None:
            self.violate(f"the daemon ended with status {stage.daemon.returncode}")
            return None
        status = Path(f"/proc/{pid}/status").read_text()
        resident, anonymous = (int(re.search(rf"{name}:\s*(\d+)", status)[1]) * 1024 for name in ["VmRSS", "RssAnon"])
        hog = stage.hog
        sample = Sample(
            round(time.monotonic() - self.begun, 1),
            resident,
            anonymous,
            len(os.listdir(f"/proc/{pid}/fd")),
            folder_bytes(stage.cache / "v1"),
            stage.disk.used() - hog,
            stage.disk.free(),
            cpu_seconds(pid),
        )
        self.samples.append(sample)
        self._judge(sample, hog)
        return sample

    def _judge(self, sample, hog):
        def at_most(what, value, bound):
            if value > bound:
                self.violate(f"{value:,}, more than {bound:,}", what)

        at_most("resident memory", sample.rss, RSS_BUDGET)
        at_most("open descriptors", sample.descriptors, DESCRIPTORS)
        at_most("bytes in the cache", sample.cache, self.stage.limit + DIRECTORIES)
        # While the other program writes or deletes, what is whose cannot be told.
        if hog == self.stage.hog:
            at_most("bytes taken of the cache's disk", sample.on_disk, self.stage.limit + DISK_SLACK)
        now = time.monotonic()
        if sample.free >= self.floor - FLOOR_SLACK:
            self.enough_free = now
            return
        self.seconds_below_floor += 1
        if now - self.enough_free > GIVES_WAY:
            self.violate(f"{sample.free:,}, less than {self.floor:,} for {GIVES_WAY} s", "free on the cache's disk")

    def violate(self, what, kind=None):
        """Of one kind, the first is told, and how many there were until when."""
        now = round(time.monotonic() - self.begun, 1)
        seen = self.violations.setdefault(kind or what, {"what": what, "first": now, "count": 0})
        seen.update(last=now, count=seen["count"] + 1)

    def violations_as_text(self):
        for kind, seen in self.violations.items():
            what = kind if kind == seen["what"] else f"{kind}: {seen['what']}"
            more = f" ({seen['count']} times, the last at {seen['last']} s)" if seen["count"] > 1 else ""
            yield f"{seen['first']:7.1f} s: {what}{more}"

    def judge_growth(self):
        """Of what is bounded and grows all the same."""
        if not self.samples or self.samples[-1].seconds < GROWTH_FROM:
            return None
        grown = {}
        quarter = len(self.samples) // 4
        for name, factor in GROWTH.items():
            before = statistics.median(getattr(s, name) for s in self.samples[quarter : 2 * quarter])
            after = statistics.median(getattr(s, name) for s in self.samples[3 * quarter :])
            grown[name] = {"second_quarter": before, "last_quarter": after}
            if after > max(before * factor, before + GROWTH_LEAST[name]):
                self.violate(f"{name} grew from {before:,} to {after:,}")
        return grown

    def extremes(self):
        def of(name):
            values = [getattr(sample, name) for sample in self.samples]
            return {"least": min(values), "median": statistics.median(values), "most": max(values)}

        return {name: of(name) for name in ["rss", "anonymous", "descriptors", "cache", "on_disk", "free"]}

    def to_json(self):
        return [asdict(sample) for sample in self.samples]
