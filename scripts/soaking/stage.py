"""What a soak plays on: a disk of its own for the cache, a repository, the daemon and its mounts."""

import json
import os
import shutil
from pathlib import Path

from files import Files
from world import Failed, Server, call, is_mounted, say, start, stop, wait_until

# What is mounted, and how: both ways in which a pinned version is opened, and one that follows its branch.
FOLLOW = 5
MOUNTS = {
    "bulk": ["v1", "--profile", "bulk"],
    "smallfiles": ["v1", "--profile", "smallfiles"],
    "follow": ["main", f"--follow={FOLLOW}"],
}
# Of the data; the disk has half as much again, so that the floor can be reached.
CACHE_PART = 10


class CacheDisk:
    """A small ext4 of its own, in a file: what is free on it is the cache's doing, and that of the program that fills it."""

    def __init__(self, dir, size):
        self.dir = dir / "disk"
        self.dir.mkdir()
        image = dir / "disk.img"
        with open(image, "wb") as file:
            os.posix_fallocate(file.fileno(), 0, size)
        call(["mkfs.ext4", "-q", "-m", "0", image])
        call(["mount", "-o", "loop", image, self.dir])
        self.used_at_first = self._used()

    def _used(self):
        disk = os.statvfs(self.dir)
        return (disk.f_blocks - disk.f_bfree) * disk.f_frsize

    def used(self):
        """Bytes since it was made."""
        return self._used() - self.used_at_first

    def free(self):
        disk = os.statvfs(self.dir)
        return disk.f_bavail * disk.f_frsize

    def close(self):
        """Fails when somebody still uses it."""
        if is_mounted(self.dir):
            call(["umount", self.dir])


class Stage:
    def __init__(self, dir, out, arguments):
        self.dir = dir
        self.out = out
        self.server = self.daemon = self.disk = None
        self.files = Files(arguments.files, arguments.large, arguments.large_size << 20, arguments.entries)
        self.limit = self.files.bytes() // CACHE_PART
        self.mounts = {name: dir / name for name in MOUNTS}
        self.program = dir / "atfs"
        # What is built meanwhile is another one.
        shutil.copy2(arguments.program, self.program)
        self.hog = 0
        # Where moves come from is another machine, as far as caches and states go.
        self.env = self.environment("state", "disk/cache")
        self.other_env = self.environment("other-state", "other-cache")
        self.url = str(dir / "repository")

    def environment(self, state, cache):
        return {**os.environ, "ATFS_CONFIG": "", "ATFS_STATE_DIR": str(self.dir / state),
                "ATFS_CACHE_DIR": str(self.dir / cache)}

    def make_ready(self, store):
        if store == "ministack":
            say("starting ministack")
            self.server = Server("ministack", self.out / "ministack.log")
            self.server.make_bucket("soak")
            self.url = "s3://soak/soak"
            for env in [self.env, self.other_env]:
                env.update(self.server.environment)
        files = self.files
        say(f"committing {files.small:,} small files, {files.large} of {files.large_size >> 20} MiB, {files.entries:,} entries")
        files.write(self.dir / "tree")
        call([self.program, "init", self.url], self.other_env)
        self.commit(self.dir / "tree", "the data")
        call([self.program, "tag", self.url, "create", "v1"], self.other_env)
        self.disk = CacheDisk(self.dir, self.limit * 3 // 2)
        self.cache = self.dir / "disk/cache"
        self.daemon = start(
            [self.program, "daemon", "--service", "--cache-size", self.limit], self.out / "daemon.log", self.env
        )
        wait_until("the daemon", self.answers, self.daemon)
        for name, (revision, *options) in MOUNTS.items():
            self.mounts[name].mkdir()
            call([self.program, "mount", f"{self.url}@{revision}", self.mounts[name], *options], self.env)

    def answers(self):
        try:
            return self.cache_info()["served"]
        except Failed:
            return False

    def commit(self, tree, message):
        """All of `tree`, which goes."""
        call([self.program, "add", f"{self.url}@main:", f"{tree}/.", "-m", message], self.other_env)
        shutil.rmtree(tree)

    def cache_info(self):
        return json.loads(call([self.program, "cache", "info", "--json"], self.env))

    def unmount(self):
        """As users do; it must work, and the daemon must end when it is told to."""
        for mount in self.mounts.values():
            call([self.program, "umount", "--timeout", "30", mount], self.env)
        self.daemon.terminate()
        status = self.daemon.wait(30)
        if status != 0:
            raise Failed(f"the daemon ended with status {status}")
        self.disk.close()

    def close(self):
        """Whatever state it is in."""
        for mount in self.mounts.values():
            if is_mounted(mount):
                call(["umount", "--lazy", mount])
        if self.daemon is not None:
            stop(self.daemon)
        if self.server is not None:
            self.server.close()
        if self.disk is not None and is_mounted(self.disk.dir):
            call(["umount", "--lazy", self.disk.dir])
        shutil.rmtree(self.dir, ignore_errors=True)


def folder_bytes(folder):
    """What the files below a folder take of the disk."""
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(Path(root, name)).st_blocks * 512
            except FileNotFoundError:
                # It was evicted meanwhile.
                pass
    return total
