"""The files that are measured: plain ones on this disk, the same in a repository, the same as plain objects."""

import os
import shutil

from world import WORK, call, say

DATA = WORK / "data"


class Sizes:
    """How much of everything."""

    def __init__(self, quick):
        self.quick = quick
        self.big = (256 if quick else 1024) << 20
        self.small_files = 2_000 if quick else 10_000
        self.small_size = 100 << 10
        self.entries = 20_000 if quick else 100_000
        # Peers read that many small files where the time of all would be hours.
        self.sample = 300 if quick else 500
        # Seconds that a peer may read small files for, cold.
        self.budget = 5 if quick else 15

    def of(self, dataset):
        return {
            "big": f"1 file of {self.big >> 20} MiB",
            "small": f"{self.small_files:,} files of 100 KiB",
            "many": f"{self.entries:,} entries",
        }[dataset]


class Dataset:
    """A tree of files on this disk. Random bytes: images do not compress, and nothing is equal to anything."""

    def __init__(self, name, sizes):
        self.name = name
        self.sizes = sizes
        self.root = DATA / f"{name}-{'quick' if sizes.quick else 'full'}"
        self.list = self.root.with_suffix(".list")
        self.sample = self.root.with_suffix(".sample")
        if not self.list.exists():
            say(f"writing {sizes.of(name)}")
            shutil.rmtree(self.root, ignore_errors=True)
            self.root.mkdir(parents=True)
            files = list(getattr(self, f"_{name}")())
            self.sample.write_text("".join(files[: sizes.sample]))
            # Last: with it the tree is complete.
            self.list.write_text("".join(files))

    def files(self, limit=None):
        """Paths below the root, the first ones."""
        with open(self.list) as lines:
            for _, line in zip(range(limit or 1 << 60), lines):
                yield line.rstrip("\n").split(" ", 1)[1]

    def _big(self):
        with open(self.root / "big.bin", "wb") as out:
            for _ in range(self.sizes.big >> 20):
                out.write(os.urandom(1 << 20))
        yield f"{self.sizes.big} big.bin\n"

    def _small(self):
        return self._tree(self.sizes.small_files, 100, lambda _: os.urandom(self.sizes.small_size))

    def _many(self):
        # A directory is an entry, too.
        directories = self.sizes.entries // 100
        return self._tree(self.sizes.entries - directories, 99, lambda n: b"entry %d\n" % n)

    def _tree(self, files, per_directory, content):
        for n in range(files):
            directory = f"d{n // per_directory:04}"
            if n % per_directory == 0:
                (self.root / directory).mkdir()
            path = f"{directory}/f{n:06}"
            body = content(n)
            (self.root / path).write_bytes(body)
            yield f"{len(body)} {path}\n"


def fill_repository(dataset, atfs, store, env):
    """Commits the tree to a repository of its own: the profile of a mount follows from what its commit holds."""
    url = f"s3://bench/{dataset.name}"
    call([atfs, "init", url], env=env)
    call([atfs, "add", f"{url}@main:", f"{dataset.root}/.", "-m", "the data"], env=env)
    stats = store.settled_stats()
    up = stats["total"]["up"] / 1e6
    say(f"  {dataset.name}: {stats['total']['requests']:,} requests, {up:,.0f} MB sent")


def fill_bucket(dataset, env):
    """The same files as objects, for those who know no repositories."""
    call(
        ["rclone", "copy", "--config", "", "--transfers", "16", "--checkers", "16", "--s3-no-check-bucket",
         "--ignore-checksum", "--retries", "5", dataset.root, f"bench:plain/{dataset.name}"],
        env=env,
    )
