"""Those who are compared. Each shows a data set as a directory, from an empty cache when it is asked to begin anew."""

import os
import shutil
import subprocess

from world import WORK, Failed, cpu_seconds, is_mounted, peak_rss, start, stop, wait_until


class Native:
    """The plain files, on the same disk as every cache."""

    name = "native"
    is_peer = False
    has_cold = False

    def __init__(self, dataset):
        self.dataset = dataset
        self.root = dataset.root

    def begin(self):
        pass

    def end(self):
        pass

    def cpu(self):
        return 0.0

    def peak_rss(self):
        return 0


class Mounted:
    """A program that serves a mount, and its cache."""

    has_cold = True

    def __init__(self, dataset, env):
        self.dataset = dataset
        self.process = None
        self.dir = WORK / "run" / f"{self.name}-{dataset.name}"
        self.mount = self.dir / "mnt"
        self.cache = self.dir / "cache"
        self.log = WORK / f"{self.name}.log"
        self.env = {**os.environ, **env, **self.settings(env)}
        self.root = self.mount / self.below()

    def settings(self, env):
        return {}

    def below(self):
        """Where in the mount the data set is."""
        return self.dataset.name

    def begin(self):
        """Mounts with an empty cache."""
        self.end()
        shutil.rmtree(self.dir, ignore_errors=True)
        self.mount.mkdir(parents=True)
        self.cache.mkdir()
        self.process = start(self.command(), self.log, self.env)
        wait_until(f"{self.name} (see {self.log})", lambda: is_mounted(self.mount), self.process)
        # It is in the table before it is served.
        os.stat(self.mount)

    def end(self):
        if self.process is None:
            return
        process, self.process = self.process, None
        if is_mounted(self.mount):
            subprocess.run(["fusermount3", "-u", self.mount], stderr=subprocess.DEVNULL, check=False)
        stop(process)
        if is_mounted(self.mount):
            subprocess.run(["fusermount3", "-uz", self.mount], check=False)
        if is_mounted(self.mount):
            raise Failed(f"{self.mount} cannot be unmounted")

    def cpu(self):
        return cpu_seconds(self.process.pid)

    def peak_rss(self):
        return peak_rss(self.process.pid)


class Atfs(Mounted):
    name = "atfs"
    is_peer = False
    program = None

    def settings(self, env):
        # No setting of whoever runs this.
        return {"ATFS_CONFIG": "", "ATFS_STATE_DIR": str(self.dir / "state")}

    def below(self):
        return ""

    def command(self):
        return [self.program, "--cache-dir", self.cache, "mount", "--foreground", f"s3://bench/{self.dataset.name}@main",
                self.mount]

    def counters(self):
        """What the mount counts itself."""
        return (self.mount / ".atfs/stats").read_text()


class Rclone(Mounted):
    """As somebody sets it up who knows it: a cache on disk, no HEAD per file for its time, nothing asked twice."""

    name = "rclone"
    is_peer = True

    @staticmethod
    def exists():
        return shutil.which("rclone") is not None

    def settings(self, env):
        return rclone_settings(env)

    def command(self):
        return ["rclone", "mount", "--config", "", "--read-only", "--vfs-cache-mode", "full", "--cache-dir", self.cache,
                "--dir-cache-time", "1000h", "--attr-timeout", "1h", "--use-server-modtime", "--s3-no-check-bucket",
                "bench:plain", self.mount]


def rclone_settings(env):
    """Its remote `bench` as variables."""
    return {
        "RCLONE_CONFIG_BENCH_TYPE": "s3",
        "RCLONE_CONFIG_BENCH_PROVIDER": "Ceph",
        "RCLONE_CONFIG_BENCH_ENDPOINT": env["AWS_ENDPOINT_URL"],
        "RCLONE_CONFIG_BENCH_ACCESS_KEY_ID": env["AWS_ACCESS_KEY_ID"],
        "RCLONE_CONFIG_BENCH_SECRET_ACCESS_KEY": env["AWS_SECRET_ACCESS_KEY"],
    }


class S3fs(Mounted):
    """With its cache on disk, and room to remember every entry."""

    name = "s3fs"
    is_peer = True

    @staticmethod
    def exists():
        return shutil.which("s3fs") is not None

    def settings(self, env):
        return {"AWSACCESSKEYID": env["AWS_ACCESS_KEY_ID"], "AWSSECRETACCESSKEY": env["AWS_SECRET_ACCESS_KEY"]}

    def command(self):
        options = [f"url={self.env['AWS_ENDPOINT_URL']}", "use_path_request_style", f"use_cache={self.cache}", "ro",
                   "max_stat_cache_size=300000", "stat_cache_expire=100000", "parallel_count=16", "multireq_max=16",
                   "endpoint=us-east-1", "kernel_cache"]
        return ["s3fs", "plain", self.mount, "-f", "-o", ",".join(options)]


class MountS3(Mounted):
    """AWS's own."""

    name = "mount-s3"
    is_peer = True

    @staticmethod
    def exists():
        return shutil.which("mount-s3") is not None

    def command(self):
        return ["mount-s3", "--foreground", "--read-only", "--force-path-style", "--endpoint-url",
                self.env["AWS_ENDPOINT_URL"], "--region", "us-east-1", "--cache", self.cache, "--metadata-ttl",
                "indefinite", "plain", self.mount]


PEERS = [Rclone, S3fs, MountS3]
