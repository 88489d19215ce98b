"""What a run needs around it: programs, a server, the proxy before it, and the end of them all.

Whatever is started here ends when the run does, also when the run is killed: servers and the proxy watch their standard
input, everything else is sent SIGTERM by the kernel when its parent ends.
"""

import ctypes
import datetime
import hashlib
import hmac
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target"))
WORK = TARGET / "bench"
PR_SET_PDEATHSIG = 1
PIPES = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
TICKS = os.sysconf("SC_CLK_TCK")


class Failed(Exception):
    """The run cannot go on; the message says why."""


def say(text):
    print(text, file=sys.stderr, flush=True)


def with_its_parent():
    """In a child, before it becomes its program: it ends with the run, and not by the Ctrl-C that is for the run."""
    os.setsid()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def start(command, log, env=None, **more):
    with open(log, "ab") as output:
        more = {"stdin": subprocess.DEVNULL, "stdout": output, **more}
        return subprocess.Popen(
            [str(word) for word in command], stderr=output, env=env, preexec_fn=with_its_parent, **more
        )


def stop(process, seconds=15):
    """SIGTERM, and SIGKILL to one that does not listen."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until(what, condition, process, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        if process.poll() is not None:
            raise Failed(f"{what}: it ended with status {process.returncode}")
        if time.monotonic() > end:
            raise Failed(f"{what}: nothing after {seconds} s")
        time.sleep(0.02)


def call(command, env=None, cwd=None):
    """Runs a program that must succeed; gives its output."""
    words = [str(word) for word in command]
    done = subprocess.run(words, env=env, cwd=cwd, capture_output=True, text=True)
    if done.returncode != 0:
        raise Failed(f"{' '.join(words)}: status {done.returncode}\n{done.stdout}{done.stderr}".rstrip())
    return done.stdout


def build():
    """The program as users run it, and the two helpers, which need nothing but the standard library."""
    say("building atfs (release)")
    subprocess.run(["cargo", "build", "--release", "--locked", "--quiet"], cwd=REPOSITORY, check=True)
    for name in ["proxy", "reader"]:
        source = REPOSITORY / "benches" / name / "main.rs"
        call(["rustc", "--edition", "2024", "-O", source, "-o", WORK / name], cwd=WORK)
    return TARGET / "release" / "atfs"


def drop_page_cache():
    Path("/proc/sys/vm/drop_caches").write_text("1")


def is_mounted(path):
    return any(line.split()[4] == str(path) for line in open("/proc/self/mountinfo"))


def cpu_seconds(pid):
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def peak_rss(pid):
    """In bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def end_by_input(process):
    """Ends what ends with its standard input."""
    process.stdin.close()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        stop(process)


class Server:
    """A real S3 server, as a script in scripts/servers runs it, on a free port and with a folder of its own."""

    def __init__(self, name, log, env=None):
        self.environment = {}
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.process = start(
            [REPOSITORY / "scripts/servers" / name, "run", port], log, {**(env or {}), **os.environ}, **PIPES
        )
        for line in self.process.stdout:
            line = line.decode().strip()
            if line == "READY":
                return
            variable, _, value = line.partition("=")
            self.environment[variable] = value
        self.process.wait()
        raise Failed(f"{name} did not start: see {log}")

    def make_bucket(self, name):
        """Signed by hand: one request does not earn an S3 library."""
        host = self.environment["AWS_ENDPOINT_URL"].removeprefix("http://")
        now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        scope = f"{now[:8]}/{self.environment['AWS_REGION']}/s3/aws4_request"
        body = hashlib.sha256(b"").hexdigest()
        fields = {"host": host, "x-amz-content-sha256": body, "x-amz-date": now}
        names = ";".join(fields)
        canonical = "\n".join(
            ["PUT", f"/{name}", "", *(f"{key}:{value}" for key, value in fields.items()), "", names, body]
        )
        key = ("AWS4" + self.environment["AWS_SECRET_ACCESS_KEY"]).encode()
        for part in scope.split("/"):
            key = hmac.digest(key, part.encode(), "sha256")
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        signature = hmac.digest(key, f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{digest}".encode(), "sha256").hex()
        credential = f"{self.environment['AWS_ACCESS_KEY_ID']}/{scope}"
        fields["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={names}, Signature={signature}"
        )
        connection = http.client.HTTPConnection(host, timeout=30)
        connection.request("PUT", f"/{name}", headers=fields)
        answer = connection.getresponse()
        if answer.status != 200:
            raise Failed(f"the bucket {name} cannot be made: {answer.status} {answer.read().decode()}")

    def close(self):
        end_by_input(self.process)


class Store:
    """A real S3 server (scripts/servers/radosgw, in memory), and the proxy before it."""

    def __init__(self):
        self.near = {}
        self.server = self.proxy = None
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    def _start(self):
        # A machine that is busy may take longer than the script waits.
        for last in (False, True):
            say("starting radosgw")
            try:
                self.server = Server("radosgw", WORK / "radosgw.log", {"ATFS_RADOSGW": "memstore"})
                break
            except Failed:
                if last:
                    raise
        self.near = self.server.environment
        upstream = self.near["AWS_ENDPOINT_URL"].removeprefix("http://")
        self.proxy = start([WORK / "proxy", upstream], WORK / "proxy.log", **PIPES)
        said = self.proxy.stdout.readline().decode().strip()
        if not said.startswith("proxy listens on "):
            raise Failed(f"the proxy did not start: see {WORK}/proxy.log")
        self.address = said.split()[-1]
        self.through_proxy = {**self.near, "AWS_ENDPOINT_URL": f"http://{self.address}"}

    def _control(self, method, path):
        connection = http.client.HTTPConnection(self.address, timeout=10)
        connection.request(method, f"/__proxy/{path}")
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        if answer.status != 200:
            raise Failed(f"the proxy: {body.decode()}")
        return body

    def set(self, latency_ms, rate):
        """How far away the store is: milliseconds to the first byte, bytes per second of one body (0: no limit)."""
        self._control("POST", f"set?latency_ms={latency_ms}&rate={rate}")

    def reset(self):
        self._control("POST", "reset")

    def stats(self):
        return json.loads(self._control("GET", "stats"))

    def settled_stats(self, seconds=10):
        """What was asked, together with what is still under way for it (reading ahead)."""
        end = time.monotonic() + seconds
        while (stats := self.stats())["in_flight"] and time.monotonic() < end:
            time.sleep(0.02)
        return stats

    def make_bucket(self, name):
        self.server.make_bucket(name)

    def close(self):
        if self.proxy is not None:
            end_by_input(self.proxy)
        if self.server is not None:
            self.server.close()
