"""What is measured: what is read, in which state of the caches, and what is hoped for.

States: `cold` is a fresh mount with an empty cache and a store that is far away; `warm` has everything on the local disk and
nothing in the page cache; `hot` has been read just before.
"""

import json
from dataclasses import dataclass, field

from world import WORK, call

# A store as S3 is: milliseconds to the first byte, bytes per second of one request.
S3 = (15, 90_000_000)
S3_SLOW = (20, 90_000_000)


@dataclass(frozen=True)
class Target:
    """A bound, and what it bounds: the ratio to `native` or to the best `peer`, the `bytes` fetched as a multiple of those
    asked for, or the `seconds`."""

    of: str
    bound: float

    def __str__(self):
        sign = ">=" if self.of in ("native", "peer") else "<="
        what = {"native": "native", "peer": "best peer", "bytes": "x bytes", "seconds": "s"}[self.of]
        return f"{sign} {self.bound:g} {what}"

    def met(self, value):
        return value >= self.bound if self.of in ("native", "peer") else value <= self.bound


@dataclass(frozen=True)
class Workload:
    """One row of the table."""

    name: str
    title: str
    dataset: str
    state: str
    # What the reader is told, for a system and a round.
    arguments: object
    unit: str = "files/s"
    targets: tuple = ()
    # The store's distance while it is measured.
    distance: tuple = S3
    peers: bool = True
    # Cold, but measured on the mount that the workload before has left.
    follows: bool = False


@dataclass
class Sample:
    """One run of one workload on one system."""

    seconds: float
    operations: int
    bytes: int
    cpu: float
    requests: int = 0
    fetched: int = 0
    most_in_flight: int = 0
    kinds: dict = field(default_factory=dict)

    def rate(self, unit):
        return (self.bytes / 1e6 if unit == "MB/s" else self.operations) / self.seconds


def all_workloads(sizes):
    big = sizes.big >> 20

    def random(block, count):
        # Peers answer so few that less of it tells as much.
        return lambda system, round: ["random", "big.bin", block, count // (10 if system.is_peer else 1), round]

    def files(readers, state):
        def arguments(system, round):
            known = "sample" if system.is_peer and state != "cold" else "list"
            budget = (sizes.budget if state == "cold" else 5) if system.is_peer else 600
            # Hot files go by so fast that one pass of them is over before it can be timed well.
            passes = 5 if state == "hot" else 1
            return ["files", getattr(system.dataset, known), readers, round, budget, passes]

        return arguments

    def sequential(system, round):
        return ["sequential", "big.bin", 1 << 20]

    def tiles(system, round):
        return ["tiles", "big.bin", 256 << 10, 64, round]

    def walk(system, round):
        return ["walk", "."]

    native, peer = (lambda bound: Target("native", bound)), (lambda bound: Target("peer", bound))
    hot_ops = 50_000 if sizes.quick else 200_000
    warm_ops = 2_000 if sizes.quick else 5_000
    rows = [
        Workload("tiles", f"64 random tiles of 256 KiB of {big} MiB", "big", "cold", tiles, "tiles/s",
                 (peer(1.0), Target("bytes", 5))),
        Workload("sequential", f"{big} MiB from end to end", "big", "cold", sequential, "MB/s", (peer(1.0),), S3_SLOW),
        Workload("sequential", f"{big} MiB from end to end", "big", "warm", sequential, "MB/s", (native(0.95),)),
        Workload("sequential", f"{big} MiB from end to end", "big", "hot", sequential, "MB/s", (native(0.97),)),
        Workload("random-4k", "random 4 KiB", "big", "warm", random(4 << 10, warm_ops), "reads/s", (native(0.9),)),
        Workload("random-128k", "random 128 KiB", "big", "warm", random(128 << 10, 1_000), "reads/s", (native(0.95),)),
        Workload("random-4k", "random 4 KiB", "big", "hot", random(4 << 10, hot_ops), "reads/s",
                 (native(0.65), peer(5))),
        Workload("random-128k", "random 128 KiB", "big", "hot", random(128 << 10, 10_000), "reads/s"),
    ]
    for readers in (1, 4):
        title = f"{sizes.of('small')}, random order, {readers} reader{'s' if readers > 1 else ''}"
        name = f"files-{readers}"
        rows += [
            Workload(name, title, "small", "cold", files(readers, "cold"), targets=(peer(10),)),
            Workload(name, title, "small", "warm", files(readers, "warm"), targets=(native(0.7),)),
            Workload(name, title, "small", "hot", files(readers, "hot"), targets=(native(0.8), peer(5))),
        ]
    rows += [
        Workload("walk", f"find + stat of {sizes.of('many')}", "many", "cold", walk, "entries/s",
                 (Target("seconds", 3),), S3_SLOW, peers=False),
        Workload("walk", f"find + stat of {sizes.of('many')}", "many", "again", walk, "entries/s", (native(0.5),),
                 S3_SLOW, peers=False),
    ]
    return rows


def measure(workload, system, store, round, passes=None):
    """Runs it once on a system that is in the right state."""
    store.reset()
    cpu = system.cpu()
    words = [WORK / "reader", *workload.arguments(system, round)]
    if passes is not None and words[1] == "files":
        words[-1] = passes
    said = json.loads(call(words, cwd=system.root))
    cpu = system.cpu() - cpu
    stats = store.settled_stats()
    kinds = {name: value["requests"] for name, value in stats.items() if isinstance(value, dict) and name != "total"}
    return Sample(
        said["seconds"], said["operations"], said["bytes"], cpu, stats["total"]["requests"], stats["total"]["down"],
        stats["most_in_flight"], kinds,
    )
