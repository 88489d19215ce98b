"""What every file holds: a function of its path and its generation, so that any range of any version can be checked without
a copy of it. Move n of the branch rewrites every file whose index is n modulo STRIDE: that is generation n of them.
"""

from random import Random

STRIDE = 32
BLOCK = 64 << 10
PER_DIRECTORY = 100


class Files:
    """Small ones, large ones, and many that are only looked at."""

    def __init__(self, small, large, large_size, entries):
        self.small = small
        self.large = large
        self.large_size = large_size
        self.entries = entries

    def path(self, index):
        if index < self.small:
            return f"small/d{index // PER_DIRECTORY:04}/f{index:06}"
        return f"large/f{index - self.small:03}"

    def size(self, index, generation):
        """In bytes: what is read at once, and now and then nothing; another one in each generation."""
        if index >= self.small:
            return self.large_size + generation
        return Random(f"{index} {generation} size").randrange(200 << 10) if index % 50 else 0

    def read(self, index, generation, start, end):
        """What stands between two offsets; nothing behind the end."""
        end = min(end, self.size(index, generation))
        first = start // BLOCK
        blocks = range(first, -(-end // BLOCK))
        text = b"".join(Random(f"{index} {generation} {block}").randbytes(BLOCK) for block in blocks)
        return text[start - first * BLOCK : max(end, start) - first * BLOCK]

    def bytes(self):
        """Of the first generation."""
        return sum(self.size(index, 0) for index in range(self.small + self.large))

    def shown(self):
        """How many entries a mount shows."""
        directories = 3 + -(-self.small // PER_DIRECTORY) + -(-self.entries // PER_DIRECTORY)
        return self.small + self.large + self.entries + directories

    def write(self, root):
        """All of the first generation below `root`."""
        for index in range(self.small + self.large):
            self._write(root, index, 0)
        for n in range(self.entries):
            put(root / f"many/d{n // PER_DIRECTORY:05}/f{n:07}", b"%d\n" % n)

    def write_move(self, root, move):
        """What move number `move`, from 1, changes."""
        for index in range(move % STRIDE, self.small + self.large, STRIDE):
            self._write(root, index, move)

    def _write(self, root, index, generation):
        put(root / self.path(index), self.read(index, generation, 0, 1 << 60))


def generation(index, move):
    """Of a file after so many moves."""
    last = move - (move - index) % STRIDE
    return max(last, 0)


def put(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text)
