"""The order of a run: everybody in turn, round after round, so that what disturbs the machine disturbs all of them."""

import os
from dataclasses import asdict

from systems import Native
from workloads import S3, S3_SLOW, measure
from world import drop_page_cache, say

NEAR = (0, 0)


class Run:
    """Measures the workloads of one data set."""

    def __init__(self, dataset, systems, workloads, store, rounds, cold_rounds):
        self.dataset = dataset
        self.systems = systems
        self.workloads = workloads
        self.store = store
        self.rounds = rounds
        self.cold_rounds = cold_rounds
        # (name, state) of a workload > system > its samples
        self.samples = {(w.name, w.state): {} for w in workloads}
        self.memory = {}
        self.counters = {}

    def all(self):
        try:
            self._cold()
            self._again()
            self._filled()
        finally:
            for system in self.systems:
                system.end()

    def of_state(self, *states):
        return [w for w in self.workloads if w.state in states]

    def in_turn(self, round):
        """Nobody is always the first after what went before."""
        first = round % len(self.systems)
        return self.systems[first:] + self.systems[:first]

    def take(self, workload, system, round):
        self.store.set(*workload.distance)
        sample = measure(workload, system, self.store, round)
        self.samples[workload.name, workload.state].setdefault(system.name, []).append(sample)
        say(f"  {workload.name:11} {workload.state:5} {system.name:8} {sample.rate(workload.unit):12,.1f} {workload.unit:9}"
            f" {sample.seconds:8.3f} s  {sample.requests:6,} requests {sample.fetched / 1e6:9,.1f} MB  cpu {sample.cpu:.2f} s")

    def _cold(self):
        for workload in self.of_state("cold"):
            for round in range(self.cold_rounds):
                for system in self.in_turn(round):
                    if not system.has_cold or (system.is_peer and not workload.peers):
                        continue
                    # Mounting is not what is measured here.
                    self.store.set(*NEAR)
                    system.begin()
                    drop_page_cache()
                    self.take(workload, system, round)
                    self._remember(system, f"{workload.name} cold")
                    system.end()

    def _again(self):
        """The same work on the mount that has just done it, in a store that is far away."""
        workloads = self.of_state("again")
        if not workloads:
            return
        for system in self.systems:
            system.begin()
        for workload in workloads:
            for system in self.systems:
                self.store.set(*NEAR)
                measure(workload, system, self.store, 0)
            for round in range(self.rounds):
                for system in self.in_turn(round):
                    self.take(workload, system, round)
        for system in self.systems:
            self._remember(system, "again")
            system.end()

    def _filled(self):
        """Everything on the local disk first, and compared: a benchmark of wrong bytes is worth nothing."""
        workloads = self.of_state("warm", "hot")
        if not workloads:
            return
        self.store.set(*NEAR)
        for system in self.systems:
            system.begin()
            fill(system)
        # What is dirty cannot be dropped.
        os.sync()
        for workload in workloads:
            for round in range(self.rounds):
                for system in self.in_turn(round):
                    if workload.state == "warm":
                        drop_page_cache()
                    else:
                        self._heat(workload, system, round)
                    self.take(workload, system, round)
        for system in self.systems:
            self._remember(system, "filled")
            system.end()

    def _heat(self, workload, system, round):
        """Into the page cache, all of it where all of it will be read at random."""
        if workload.name.startswith("random"):
            with open(system.root / "big.bin", "rb", buffering=0) as file:
                while file.read(1 << 20):
                    pass
        else:
            measure(workload, system, self.store, round, passes=1)

    def _remember(self, system, when):
        if isinstance(system, Native):
            return
        known = self.memory.get(system.name, 0)
        self.memory[system.name] = max(known, system.peak_rss())
        if system.name == "atfs":
            self.counters[f"{self.dataset.name} {when}"] = system.counters()

    def to_json(self):
        return [
            {"name": w.name, "state": w.state, "title": w.title, "unit": w.unit,
             "systems": {name: [asdict(s) for s in samples] for name, samples in
                         self.samples[w.name, w.state].items()}}
            for w in self.workloads
        ]


def fill(system):
    """Reads what will be measured, and compares it with the plain files."""
    if isinstance(system, Native):
        return
    say(f"  filling the cache of {system.name}")
    limit = system.dataset.sizes.sample if system.is_peer else None
    for path in system.dataset.files(limit):
        with open(system.root / path, "rb", buffering=0) as seen, open(system.dataset.root / path, "rb", buffering=0) as true:
            while True:
                wanted = true.read(1 << 20)
                got = seen.read(len(wanted) or 1)
                while len(got) < len(wanted):
                    more = seen.read(len(wanted) - len(got))
                    if not more:
                        break
                    got += more
                if got != wanted:
                    raise SystemExit(f"{system.name} gives other bytes for {path}")
                if not wanted:
                    break
