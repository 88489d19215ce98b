"""Reads all that the example's DataLoader gives, and compares: consume.py ROOT HASHES EPOCHS

HASHES is JSON, file name > SHA-256. Says one line of JSON for each epoch; exit status 1 when a sample was wrong or missing.
"""

import hashlib
import json
import sys
import time
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent / "docs/examples"))
from dataloader import load  # noqa: E402

root, hashes, epochs = sys.argv[1], json.loads(Path(sys.argv[2]).read_text()), int(sys.argv[3])
loader = load(root)
ended = 0
order = []
for epoch in range(epochs):
    begun = time.monotonic()
    seen = []
    wrong = []
    size = 0
    for names, contents in loader:
        for name, content in zip(names, contents):
            seen.append(name)
            size += len(content)
            if hashlib.sha256(content).hexdigest() != hashes.get(name):
                wrong.append(name)
    seconds = time.monotonic() - begun
    missing = sorted(hashes.keys() - set(seen))
    twice = len(seen) - len(set(seen))
    shuffled = seen != sorted(seen) and seen not in order
    order.append(seen)
    print(json.dumps({"samples": len(seen), "bytes": size, "seconds": seconds, "wrong": wrong[:5], "missing": missing[:5],
                      "twice": twice, "shuffled": shuffled}), flush=True)
    if wrong or missing or twice or not shuffled:
        ended = 1
sys.exit(ended)
