"""A program that reads from all mounts and checks every byte, until SIGTERM: reader.py SETTINGS (JSON).

Says one line of JSON each second at least: what it has done, or a violation.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path
from random import Random

sys.dont_write_bytecode = True
from files import Files, generation  # noqa: E402

# A look-up sees the head of at most --follow seconds ago; what a busy machine adds.
SLACK = 30
# After so many there is nothing more to learn.
ENOUGH = 20


class Moves:
    """How far the branch has moved; written by the run, a line before and after each commit."""

    def __init__(self, path):
        self.path = path
        self.size = -1
        self.begun = 0
        self.done = []

    def look(self):
        size = os.stat(self.path).st_size
        if size == self.size:
            return
        self.size = size
        self.done = [(float("-inf"), 0)]
        for line in self.path.read_text().splitlines():
            what, number, instant = line.split()
            if what == "begin":
                self.begun = int(number)
            else:
                self.done.append((float(instant), int(number)))

    def oldest(self, instant):
        """The least that may still be shown at an instant."""
        return next(number for time, number in reversed(self.done) if time <= instant)


class Reader:
    def __init__(self, settings):
        self.files = Files(**settings["files"])
        self.mounts = {name: Path(path) for name, path in settings["mounts"].items()}
        self.follow = settings["follow"]
        self.rate = settings["rate"]
        self.random = Random(settings["seed"])
        self.moves = Moves(Path(settings["moves"]))
        self.done = {"files": 0, "ranges": 0, "bytes": 0, "newest": 0, "slowest": 0.0}
        self.violations = 0
        self.stopped = False
        self.said = 0.0

    def run(self):
        begun = time.monotonic()
        indexes = []
        while not self.stopped and self.violations < ENOUGH:
            if not indexes:
                indexes = list(range(self.files.small))
                self.random.shuffle(indexes)
            dice = self.random.random()
            if dice < 0.005:
                self.read_file(self.any_large())
            elif dice < 0.05:
                self.read_ranges(self.any_large(), 1 << 20, 8)
            elif dice < 0.1:
                self.read_ranges(indexes.pop(), 64 << 10, 4)
            else:
                self.read_file(indexes.pop())
            self.say_at_times()
            if self.rate:
                ahead = self.done["bytes"] / self.rate - (time.monotonic() - begun)
                time.sleep(min(max(ahead, 0), 1))
        self.say(self.done)

    def any_large(self):
        return self.files.small + self.random.randrange(self.files.large)

    def read_file(self, index):
        def read(file):
            parts = []
            while part := os.read(file, 1 << 20):
                parts.append(part)
                self.say_at_times()
            return [(0, 1 << 60, b"".join(parts))]

        self.check(index, read)
        self.done["files"] += 1

    def read_ranges(self, index, longest, count):
        def read(file):
            size = os.fstat(file).st_size
            ranges = []
            for _ in range(count):
                # Some reach over the end.
                start = self.random.randrange(size + 1)
                length = self.random.randrange(1, longest)
                ranges.append((start, start + length, pread(file, length, start)))
                self.say_at_times()
            return ranges

        self.check(index, read)
        self.done["ranges"] += count

    def check(self, index, read):
        """Reads by an open file, and finds the one generation that it was opened in."""
        name = self.random.choice(list(self.mounts))
        path = self.mounts[name] / self.files.path(index)
        self.moves.look()
        begun = time.monotonic()
        oldest = self.moves.oldest(begun - self.follow - SLACK) if name == "follow" else 0
        try:
            file = os.open(path, os.O_RDONLY)
            try:
                pieces = read(file)
                # Else the page cache would answer before long, and the daemon would have nothing to do.
                if self.random.random() < 0.8:
                    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(file)
        except OSError as error:
            self.violate(f"{path}: {error}")
            return
        self.done["slowest"] = max(self.done["slowest"], round(time.monotonic() - begun, 2))
        self.done["bytes"] += sum(len(text) for _, _, text in pieces)
        self.moves.look()
        newest = self.moves.begun if name == "follow" else 0
        for seen in sorted({generation(index, move) for move in range(newest + 1)}, reverse=True):
            if all(self.files.read(index, seen, start, end) == text for start, end, text in pieces):
                if seen < generation(index, oldest):
                    self.violate(f"{path}: shows generation {seen} when {generation(index, oldest)} was due")
                # Nothing is the same in all generations.
                if any(text for _, _, text in pieces):
                    self.done["newest"] = max(self.done["newest"], seen)
                return
        self.violate(f"{path}: wrong bytes in {[(start, len(text)) for start, _, text in pieces]}")

    def say_at_times(self):
        if time.monotonic() - self.said >= 1:
            self.say(self.done)

    def say(self, what):
        self.said = time.monotonic()
        print(json.dumps(what), flush=True)

    def violate(self, what):
        self.violations += 1
        self.say({"violation": what})

    def stop(self):
        self.stopped = True


def pread(file, length, start):
    parts = []
    while length and (part := os.pread(file, length, start)):
        parts.append(part)
        start += len(part)
        length -= len(part)
    return b"".join(parts)


if __name__ == "__main__":
    reader = Reader(json.loads(sys.argv[1]))
    signal.signal(signal.SIGTERM, lambda *_: reader.stop())
    reader.run()
