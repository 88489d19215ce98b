#!/usr/bin/env python3
"""Restores a commit from a local atfs repository, without atfs.

    read-repo.py <repository folder> <branch | tag | commit id> <output folder>

Written from docs/format.md alone; section numbers below are of that document. Every byte is verified against its hash
before it is written. Needs Python 3.9 and the packages `blake3` and `zstandard`.

Exit status: 0 everything was restored; 1 something could not be (messages say what); 2 wrong usage.
"""

import argparse
import json
import os
import re
import stat
import sys
from collections import namedtuple

try:
    import zstandard
    from blake3 import blake3
except ImportError as error:
    sys.exit(f"read-repo.py needs the Python packages blake3 and zstandard: {error}")

VERSION = 1
MAX_SEQ = 999_999_999_999
MAX_CHUNK = 4_194_304
MAX_STORED = 4_194_368
MAX_NODE = 1 << 20
MAX_ITEMS_LENGTH = 131_072
MAX_JSON = 8 << 20
U64 = (1 << 64) - 1

CHUNK, TREE, MANIFEST, XATTRS = range(4)
KIND_NAMES = ["chunk", "tree node", "manifest node", "list of extended attributes"]


class Broken(Exception):
    """Something in the repository is not as the format says."""


def check(condition, message):
    if not condition:
        raise Broken(message)


def hash_of(data, key=None):
    return blake3(data, key=key).digest() if key else blake3(data).digest()


# ---------------------------------------------------------------------------------------------- 1. conventions


class Cursor:
    """Takes values off the front of bytes."""

    def __init__(self, what, data):
        self.what, self.data, self.at = what, data, 0

    def take(self, length):
        check(length <= len(self.data) - self.at, f"{self.what} is cut short")
        self.at += length
        return self.data[self.at - length : self.at]

    def byte(self):
        return self.take(1)[0]

    def fixed(self, length):
        return int.from_bytes(self.take(length), "little")

    def varint(self, most=U64):
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
            check(shift < 70, f"{self.what}: a number of more than ten bytes")
        check(byte != 0 or shift == 7, f"{self.what}: a number is not in its shortest form")
        check(value <= U64, f"{self.what}: a number of more than 64 bits")
        check(value <= most, f"{self.what}: {value} where at most {most} is possible")
        return value

    def zigzag(self):
        value = self.varint()
        return value >> 1 if value % 2 == 0 else -((value + 1) >> 1)

    def sized(self, most):
        return self.take(self.varint(most))

    def finish(self):
        check(self.at == len(self.data), f"{self.what}: bytes follow its end")


def varint_length(value):
    return max(1, (value.bit_length() + 6) // 7)


def check_name(name, what):
    good = 1 <= len(name) <= 255 and b"/" not in name and b"\0" not in name and name not in (b".", b"..")
    check(good, f"{what}: {name!r} cannot be the name of a file")


# ------------------------------------------------------------------------------------------- 3. canonical JSON


def parse_json(what, text):
    """The value of a text that is canonical."""
    check(len(text) <= MAX_JSON, f"{what}: longer than 8 MiB")

    def refuse(number):
        raise ValueError(f"{number} is not an integer")

    try:
        value = json.loads(text.decode("utf-8"), parse_float=refuse, parse_constant=refuse)
        again = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError) as error:
        raise Broken(f"{what}: not JSON as the format has it: {error}") from error
    version = value.get("version") if isinstance(value, dict) else None
    newer = isinstance(version, int) and version > VERSION
    check(not newer, f"{what} has format version {version}; this program reads version {VERSION}")
    check(again == text, f"{what}: not canonical JSON")
    return value


def fields(what, value, **types):
    """The fields of an object, which must be exactly these; a type is a class, a tuple of classes, or a pattern."""
    check(isinstance(value, dict), f"{what}: not an object")
    different = sorted(set(value) ^ set(types))
    check(not different, f"{what}: fields are missing or not known: {different}")
    for name, kind in types.items():
        field = value[name]
        if isinstance(kind, str):
            good = isinstance(field, str) and re.fullmatch(kind, field)
        elif kind is int:
            good = isinstance(field, int) and not isinstance(field, bool) and 0 <= field <= U64
        else:
            good = isinstance(field, kind)
        check(good, f"{what}: field {name!r} cannot be {str(field)[:80]!r}")
    return value


HEX32 = r"[0-9a-f]{32}"
HEX64 = r"[0-9a-f]{64}"
TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z"
UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
ANY = (str, int, bool, list, dict, type(None))
HEX64_OR_NULL = (str, type(None))


# ----------------------------------------------------------------------------------- 2, 4, 5, 6. objects by key


def one_line(what, data):
    check(data.endswith(b"\n"), f"{what} is cut short")
    return parse_json(what, data[:-1])


Place = namedtuple("Place", "pack offset length")


def read_span(what, value):
    fields(what, value, len=int, offset=int, pack=HEX32)
    check(value["len"] >= 1 and value["offset"] + value["len"] <= U64, f"{what}: impossible place")
    return Place(bytes.fromhex(value["pack"]), value["offset"], value["len"])


Commit = namedtuple("Commit", "id tree totals root")


def read_commit(what, body, place, commit_id):
    """A commit from its two values."""
    fields(
        what, body, author=str, message=str, metadata=dict, nonce=HEX32, parents=list, time=TIME, totals=dict,
        tree=HEX64, version=int,
    )  # fmt: skip
    totals = fields(f"{what}: totals", body["totals"], bytes=int, entries=int, files=int)
    check(1 <= len(body["author"].encode()) <= 1024, f"{what}: author")
    check(len(body["message"].encode()) <= 1 << 20, f"{what}: message")
    check(all(isinstance(value, str) for value in body["metadata"].values()), f"{what}: metadata")
    parents = body["parents"]
    good = all(isinstance(parent, str) and re.fullmatch(HEX64, parent) for parent in parents)
    check(good and len(parents) <= 16 and len(set(parents)) == len(parents), f"{what}: parents")
    fields(f"{what}: place", place, interior=dict, root=dict)
    read_span(f"{what}: interior", place["interior"])
    root = read_span(f"{what}: root", place["root"])
    sums = (totals["entries"], totals["files"], totals["bytes"])
    return Commit(commit_id, bytes.fromhex(body["tree"]), sums, root)


class Repository:
    def __init__(self, folder):
        self.folder = folder
        self.indexed = None
        if not os.path.isfile(self.path("format.json")):
            raise Broken(f"{folder} is not a repository: there is no format.json in it")
        self.format = one_line("format.json", self.get("format.json"))
        fields(
            "format.json", self.format, chunker=dict, created=TIME, cut_seed=HEX64, default_branch=str,
            hash="blake3", uuid=UUID, version=int,
        )  # fmt: skip

    def path(self, key):
        return os.path.join(self.folder, *key.split("/"))

    def get(self, key, limit=1 << 30):
        try:
            with open(self.path(key), "rb") as file:
                data = file.read(limit + 1)
        except OSError as error:
            raise Broken(f"{key} cannot be read: {error.strerror}") from error
        check(len(data) <= limit, f"{key} is too long")
        return data

    # ---- 5. logs

    def record(self, log, key, seq):
        """A record, checked by itself, and the hash of its bytes."""
        data = self.get(key, MAX_JSON + 1)
        value = one_line(key, data)
        fields(
            key, value, checks=list, gc_epoch=int, head=(dict, type(None)), kind="birth|move|fence|settings|delete",
            log=str, moves=int, nonce=HEX32, operation=dict, previous_commit=HEX64_OR_NULL,
            previous_record=HEX64_OR_NULL, repository=str, seq=int, settings=dict, settings_seq=int, version=int,
            when=TIME, who=str,
        )  # fmt: skip
        check(value["repository"] == self.format["uuid"], f"{key} belongs to repository {value['repository']}")
        check(value["log"] == log and value["seq"] == seq, f"{key} is record {value['seq']} of {value['log']}")
        check((value["previous_record"] is None) == (seq == 1), f"{key}: previous_record")
        check(value["moves"] < seq, f"{key}: moves")
        head = value["head"]
        old = value["previous_commit"]
        new = head and fields(f"{key}: head", head, commit=dict, id=HEX64, place=dict)["id"]
        kind = value["kind"]
        right = {
            "birth": new is None and old is None,
            "move": new is not None and value["moves"] >= 1,
            "fence": new == old,
            "settings": new == old,
            "delete": new is None,
        }
        check(right[kind] and (seq > 1 or kind == "birth"), f"{key}: a {kind} cannot have these fields")
        check(not value["settings"], f"{key}: settings")
        return value, hash_of(data)

    def newest(self, log, prefix):
        """The newest record of a log, or None."""
        try:
            names = os.listdir(self.path(prefix))
        except FileNotFoundError:
            return None
        seqs = []
        for name in names:
            match = re.fullmatch(r"([0-9]{12})\.json", name)
            seq = MAX_SEQ - int(match[1]) if match else 0
            if seq:
                seqs.append(seq)
            else:
                warn(f"ignored: {prefix}/{name} is not spelt as a record's key")
        seqs.sort(reverse=True)
        wild = 0  # numbers from this one on are ignored
        for seq in seqs:
            key = f"{prefix}/{MAX_SEQ - seq:012}.json"
            if wild and seq >= wild:
                continue
            bottom = seq
            while bottom - 1 in seqs:
                bottom -= 1
            if bottom > 1 and self.is_wild(log, prefix, bottom, seq, seqs):
                wild = bottom
                warn(f"ignored: {prefix}/{MAX_SEQ - bottom:012}.json and what is above it, because there is no record {bottom - 1} before it")
                continue
            value, _ = self.record(log, key, seq)
            if seq > 1:
                before = hash_of(self.get(f"{prefix}/{MAX_SEQ - seq + 1:012}.json", MAX_JSON + 1)).hex()
                check(value["previous_record"] == before, f"{key} does not continue record {seq - 1}")
            return value
        return None

    def is_wild(self, log, prefix, bottom, top, seqs):
        """Whether a broken writer made the records from bottom to top; fails if record bottom - 1 may have been lost."""
        try:
            value, _ = self.record(log, f"{prefix}/{MAX_SEQ - bottom:012}.json", bottom)
        except Broken:
            if bottom == top:
                return True
            raise
        below = max((seq for seq in seqs if seq < bottom), default=None)
        if below is not None:
            before = hash_of(self.get(f"{prefix}/{MAX_SEQ - below:012}.json", MAX_JSON + 1)).hex()
            if value["previous_record"] == before:
                return True
        check(False, f"record {bottom} of {log} continues record {bottom - 1}, which does not exist")

    def head(self, revision):
        """The commit of a branch, tag, id or beginning of an id, in this order."""
        name = self.format["default_branch"] if revision == "HEAD" else revision
        if not name.startswith(("-", ".")) and "_2F" not in name:
            for kind in ("heads", "tags"):
                folder = f"refs/{kind}/{name.replace('/', '_2F')}"
                record = self.newest(f"refs/{kind}/{name}", folder)
                if record and record["head"]:
                    what = f"the commit in {folder}"
                    body, found = record["head"]["commit"], record["head"]["id"]
                    text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
                    check(hash_of(text.encode()).hex() == found, f"{what} does not have the id {found}")
                    return read_commit(what, body, record["head"]["place"], found)
        if re.fullmatch(r"[0-9a-f]{4,64}", revision):
            return self.commit(revision)
        raise Broken(f"{revision} is no branch, no tag and no commit of {self.folder}")

    # ---- 6. commits

    def commit(self, prefix):
        folder = f"commits/{prefix[:2]}"
        names = os.listdir(self.path(folder)) if os.path.isdir(self.path(folder)) else []
        ids = [name[:-5] for name in names if re.fullmatch(HEX64 + r"\.json", name) and name.startswith(prefix)]
        check(ids, f"no commit begins with {prefix}")
        check(len(ids) == 1, f"{len(ids)} commits begin with {prefix}")
        key = f"{folder}/{ids[0]}.json"
        lines = self.get(key, 2 * MAX_JSON).split(b"\n")
        check(len(lines) == 3 and not lines[2], f"{key} does not have two lines")
        check(hash_of(lines[0]).hex() == ids[0], f"{key} has other content: it hashes to {hash_of(lines[0]).hex()}")
        return read_commit(key, parse_json(key, lines[0]), parse_json(key, lines[1]), ids[0])

    # ---- 7. blobs

    def stored(self, kind, place):
        """The raw bytes of the stored blob at a place."""
        folder = "data" if kind == CHUNK else "meta"
        pack = place.pack.hex()
        key = f"{folder}/{pack[:2]}/{pack}"
        try:
            with open(self.path(key), "rb") as file:
                file.seek(place.offset)
                data = file.read(place.length)
        except (OSError, OverflowError) as error:
            raise Broken(f"{key} cannot be read: {error}") from error
        what = f"{KIND_NAMES[kind]} at {place.offset} of {key}"
        check(len(data) == place.length, f"{what} is cut short")
        most = MAX_CHUNK if kind == CHUNK else MAX_NODE
        cursor = Cursor(what, data)
        encoding = cursor.byte()
        check(encoding in (0, 1), f"{what} has the unknown encoding {encoding}")
        if encoding == 0:
            check(len(data) - 1 <= most, f"{what} is too long")
            return data[1:]
        length = cursor.varint(most)
        try:
            # One byte more than announced shows a frame that holds more.
            reader = zstandard.ZstdDecompressor().stream_reader(data[cursor.at :])
            raw = reader.read(length + 1)
        except zstandard.ZstdError as error:
            raise Broken(f"{what} does not decompress: {error}") from error
        check(len(raw) == length, f"{what} is not as long as it says")
        return raw

    def blob(self, kind, blob_id, hint):
        """The raw bytes of a blob, verified; from its hint, else from wherever an index has it."""
        problem = f"{KIND_NAMES[kind]} {blob_id.hex()} has no hint"
        if hint:
            try:
                return verified(kind, blob_id, self.stored(kind, hint))
            except Broken as error:
                problem = str(error)
        for place in self.rescue().get((kind, blob_id), []):
            try:
                raw = verified(kind, blob_id, self.stored(kind, place))
            except Broken:
                continue
            warn(f"found through an index: {problem}")
            return raw
        raise Broken(problem)

    def rescue(self):
        """What all index objects know; read only when a hint fails."""
        if self.indexed is None:
            self.indexed = {}
            for folder, _, names in os.walk(self.path("index")):
                for name in names:
                    try:
                        with open(os.path.join(folder, name), "rb") as file:
                            self.add_index(f"index {name}", file.read())
                    except (Broken, OSError) as error:
                        warn(f"ignored: {error}")
        return self.indexed

    def add_index(self, what, data):
        check(len(data) >= 61 and hash_of(data[:-32]) == data[-32:], f"{what} is damaged")
        cursor = Cursor(what, data[:-32])
        check(cursor.take(8) == b"ATFSIDX\x01", f"{what} begins wrongly")
        pack, pack_kind, end = cursor.take(16), cursor.byte(), 25
        for _ in range(cursor.fixed(4)):
            kind, blob_id = cursor.byte(), cursor.take(32)
            place = Place(pack, cursor.fixed(8), cursor.fixed(4))
            cursor.fixed(4)
            check(place.offset == end and kind <= 3 and (kind > 0) == (pack_kind == 1), f"{what}: a wrong entry")
            end += place.length
            self.indexed.setdefault((kind, blob_id), []).append(place)
        cursor.finish()


def verified(kind, blob_id, raw):
    """The blob, if it has this id. Only the body of a node is hashed."""
    data = split_node(raw)[0] if kind in (TREE, MANIFEST) else raw
    actual = hash_of(data)
    check(actual == blob_id, f"{KIND_NAMES[kind]} {blob_id.hex()} has other content: it hashes to {actual.hex()}")
    return raw


# --------------------------------------------------------------------------------- 8 to 11. nodes and their items


def split_node(raw):
    check(len(raw) >= 4, "a node is cut short")
    end = 4 + int.from_bytes(raw[:4], "little")
    check(end <= len(raw), "a node is cut short")
    return raw[4:end], raw[end:]


def read_hints(data, blobs):
    """11. A list of places and Nones; only Nones if anything is wrong."""
    try:
        cursor = Cursor("hints", data)
        packs = [cursor.take(16) for _ in range(cursor.varint(len(data) // 16))]
        ends = [0] * len(packs)
        hints = []
        for _ in range(blobs):
            which = cursor.varint(len(packs))
            if which == 0:
                hints.append(None)
                continue
            offset = (ends[which - 1] + cursor.zigzag()) & U64
            length = cursor.varint(MAX_STORED)
            check(length >= 1 and offset + length <= U64, "hints")
            ends[which - 1] = offset + length
            hints.append(Place(packs[which - 1], offset, length))
        cursor.finish()
        return hints
    except Broken:
        return [None] * blobs


def begin_node(what, body, magic, top):
    cursor = Cursor(what, body)
    check(cursor.byte() == magic, f"{what} begins wrongly")
    version = cursor.byte()
    check(version <= VERSION, f"{what} has format version {version}; this program reads version {VERSION}")
    check(version == VERSION, f"{what} has format version {version}")
    level = cursor.byte()
    check(level <= top, f"{what} has level {level}")
    return cursor, level


def read_xattrs(cursor):
    """10. A list of pairs."""
    pairs = []
    for _ in range(cursor.varint()):
        name, value = cursor.sized(255), cursor.sized(65_536)
        good = name.startswith(b"user.") and len(name) > 5 and not name.startswith(b"user.atfs.")
        check(good and b"\0" not in name, f"{cursor.what}: the extended attribute {name!r} is not allowed")
        check(not pairs or pairs[-1][0] < name, f"{cursor.what}: extended attributes are not in order")
        pairs.append((name, value))
    check(pairs, f"{cursor.what}: an empty list of extended attributes")
    return pairs


class Entry:
    """8, 9. One entry of a leaf."""

    def __init__(self, cursor, path):
        flags = cursor.byte()
        self.path = path
        self.kind, self.content, self.xattr_kind = flags & 3, flags >> 2 & 7, flags >> 5
        good = self.kind <= 2 and self.xattr_kind <= 2 and self.content <= (4 if self.kind == 0 else 0)
        check(good, f"{cursor.what}: flags {flags:#x}")
        self.mode = cursor.varint(0o1777)
        self.uid, self.gid = cursor.varint((1 << 32) - 1), cursor.varint((1 << 32) - 1)
        seconds = cursor.zigzag()
        self.mtime = seconds * 1_000_000_000 + cursor.varint(999_999_999)
        self.size = 0
        self.data = b""
        self.hint = self.xattrs_hint = None
        if self.kind == 0 and self.content != 0:
            self.size = cursor.varint((1 << 63) - 1)
            least, most = {1: (1, 512), 2: (513, 1 << 20), 3: ((1 << 20) + 1, 1 << 63), 4: (0, 1 << 63)}[self.content]
            check(least <= self.size <= most, f"{cursor.what}: content {self.content} of {self.size} bytes")
            if self.content == 1:
                self.data = cursor.take(self.size)
            elif self.content in (2, 3):
                self.data = cursor.take(32)
            else:
                self.data = [cursor.sized(most) for most in (63, 1024, 1024, 255)]
        elif self.kind == 2:
            self.data = cursor.sized(4095)
            check(self.data and b"\0" not in self.data, f"{cursor.what}: a symlink's target")
        self.xattrs = []
        if self.xattr_kind == 1:
            start = cursor.at
            self.xattrs = read_xattrs(cursor)
            check(cursor.at - start <= 1024, f"{cursor.what}: a list of extended attributes is too long for an entry")
        elif self.xattr_kind == 2:
            self.xattrs = cursor.take(32)

    def sums(self):
        return (1, 1, self.size) if self.kind == 0 else (1, 0, 0)


def path_of_key(what, key):
    """8. The components of a key."""
    parents, nul, name = key.rpartition(b"\0")
    check(nul and (not parents or parents.endswith(b"\0")), f"{what}: {key!r} is no key")
    components = (parents[:-1].split(b"\0") if parents else []) + [name]
    for component in components:
        check_name(component, what)
    check(len(b"/".join(components)) <= 4095, f"{what}: a path of more than 4,095 bytes")
    check(components[0] != b".atfs", f"{what}: .atfs at the root is not allowed")
    return components


class KeyReader:
    def __init__(self, cursor):
        self.cursor, self.key, self.length = cursor, b"", 0

    def next(self):
        what = self.cursor.what
        shared = self.cursor.varint(len(self.key))
        rest = self.cursor.sized(4096)
        check(rest, f"{what}: keys are not in order")
        if shared < len(self.key):
            check(rest[0] > self.key[shared], f"{what}: keys are not in order, or share more than is said")
        self.key = self.key[:shared] + rest
        self.add(1 + varint_length(len(self.key)) + len(self.key))
        return self.key

    def add(self, length):
        self.length += length
        check(self.length <= MAX_ITEMS_LENGTH, f"{self.cursor.what}: its items are too long")


Child = namedtuple("Child", "last_key id sums hint")


def add_sums(what, all_sums):
    sums = tuple(map(sum, zip(*all_sums))) or (0, 0, 0)
    check(sums[0] <= 1 << 43 and max(sums) <= U64, f"{what}: its sums are too large")
    return sums


def read_tree_node(what, raw):
    """8. The level and the items of a node: entries with their keys, or children."""
    body, hint_bytes = split_node(raw)
    cursor, level = begin_node(what, body, ord("T"), 15)
    count = cursor.varint()
    keys = KeyReader(cursor)
    items = []
    for _ in range(count):
        key = keys.next()
        start = cursor.at
        if level == 0:
            items.append((key, Entry(cursor, path_of_key(what, key))))
        else:
            path_of_key(what, key)
            child = (cursor.take(32), (cursor.varint(), cursor.varint(), cursor.varint()))
            entries, files, size = child[1]
            check(1 <= entries and files <= entries and (files or not size), f"{what}: impossible sums {child[1]}")
            items.append((key, *child))
        keys.add(cursor.at - start)
    cursor.finish()
    check(items or level == 0, f"{what} has no children")
    if level > 0:
        hints = read_hints(hint_bytes, len(items))
        return level, [Child(*item, hint) for item, hint in zip(items, hints)]
    named = []
    for _, entry in items:
        if entry.content in (2, 3):
            named.append((entry, "hint"))
        if entry.xattr_kind == 2:
            named.append((entry, "xattrs_hint"))
    for (entry, field), hint in zip(named, read_hints(hint_bytes, len(named))):
        setattr(entry, field, hint)
    return level, items


def walk(repository, node_id, hint, parent=None):
    """All entries below a node, in key order. `parent`: what the parent says: level, last key, sums, and the key that
    all keys must be behind."""
    what = f"tree node {node_id.hex()}"
    level, items = read_tree_node(what, repository.blob(TREE, node_id, hint))
    sums = add_sums(what, [item[1].sums() if level == 0 else item.sums for item in items])
    behind = b""
    if parent:
        said_level, last_key, said_sums, behind = parent
        check(level == said_level, f"{what} has level {level}, its parent says {said_level}")
        check(items and items[-1][0] == last_key, f"{what} ends with another key than its parent says")
        check(sums == said_sums, f"{what} holds {sums}, its parent says {said_sums}")
    else:
        check(items or level == 0, f"{what} is empty")
        yield sums
    for item in items:
        check(item[0] > behind, f"{what} holds a key that belongs before it")
        if level == 0:
            yield item[1]
        else:
            try:
                yield from walk(repository, item.id, item.hint, (level - 1, item.last_key, item.sums, behind))
            except Broken as error:
                # What lies behind the damage is still restored.
                first = b"/".join(path_of_key(what, behind)) if behind else b"the beginning"
                fail(b"/".join(path_of_key(what, item.last_key)), f"and all entries since {first!r}: {error}")
        behind = item[0]


def manifest_chunks(repository, node_id, hint, parent=None):
    """9. The chunks of a file: id, length, place. `parent`: level, chunks, bytes."""
    what = f"manifest node {node_id.hex()}"
    body, hint_bytes = split_node(repository.blob(MANIFEST, node_id, hint))
    cursor, level = begin_node(what, body, ord("M"), 7)
    count = cursor.varint(2048)
    check(count, f"{what} is empty")
    items = []
    for _ in range(count):
        item_id = cursor.take(32)
        chunks, size = (1, cursor.varint(MAX_CHUNK)) if level == 0 else (cursor.varint(), cursor.varint())
        check(1 <= chunks <= size <= chunks * MAX_CHUNK, f"{what}: {chunks} chunks of {size} bytes")
        items.append((item_id, chunks, size))
    cursor.finish()
    sums = (level, sum(item[1] for item in items), sum(item[2] for item in items))
    check(parent is None or sums == parent, f"{what} holds {sums}, its parent says {parent}")
    check(sums[2] < 1 << 63, f"{what} is too long")
    if parent is None:
        yield sums[2]
    for (item_id, chunks, size), place in zip(items, read_hints(hint_bytes, count)):
        if level == 0:
            yield item_id, size, place
        else:
            yield from manifest_chunks(repository, item_id, place, (level - 1, chunks, size))


# --------------------------------------------------------------------------------------- 14. to restore a commit


def contents(repository, entry):
    """The bytes of a file, in pieces."""
    if entry.content == 1:
        yield entry.data
    elif entry.content == 2:
        raw = repository.blob(CHUNK, entry.data, entry.hint)
        check(len(raw) == entry.size, f"chunk {entry.data.hex()} has {len(raw)} bytes, not {entry.size}")
        yield raw
    elif entry.content == 3:
        chunks = manifest_chunks(repository, entry.data, entry.hint)
        size = next(chunks)
        check(size == entry.size, f"manifest {entry.data.hex()} has {size} bytes, not {entry.size}")
        for chunk_id, length, place in chunks:
            raw = repository.blob(CHUNK, chunk_id, place)
            check(len(raw) == length, f"chunk {chunk_id.hex()} has {len(raw)} bytes, not {length}")
            yield raw


def all_xattrs(repository, entry):
    if entry.xattr_kind != 2:
        return entry.xattrs
    raw = repository.blob(XATTRS, entry.xattrs, entry.xattrs_hint)
    check(len(raw) > 1024, f"list of extended attributes {entry.xattrs.hex()} belongs into its entry")
    cursor = Cursor(f"list of extended attributes {entry.xattrs.hex()}", raw)
    pairs = read_xattrs(cursor)
    cursor.finish()
    return pairs


failures = 0


def warn(message):
    print(f"read-repo.py: {message}", file=sys.stderr)


def fail(path, problem):
    global failures
    failures += 1
    warn(f"NOT RESTORED {os.fsdecode(path)!r}: {problem}")


def create(repository, entry, target):
    """Creates one entry; `target` does not exist, and its parent is a directory that we made."""
    if entry.kind == 1:
        os.mkdir(target, 0o700)
    elif entry.kind == 2:
        os.symlink(entry.data, target)
    elif entry.content == 4:
        bucket, key, version, etag = (field.decode("utf-8", "replace") for field in entry.data)
        raise Broken(f"it is the object s3://{bucket}/{key} (version {version or 'none'}, ETag {etag})")
    else:
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            with open(descriptor, "wb") as file:
                for piece in contents(repository, entry):
                    file.write(piece)
        except BaseException:
            # Half a file would look like a file.
            os.unlink(target)
            raise


def finish(repository, entry, target, owner):
    """Everything that stat shows besides the kind and the size."""
    for name, value in all_xattrs(repository, entry):
        try:
            os.setxattr(target, name, value, follow_symlinks=False)
        except OSError as error:
            fail(target, f"its extended attribute {name!r}: {error.strerror}")
    if owner:
        os.chown(target, entry.uid, entry.gid, follow_symlinks=False)
    if entry.kind != 2:
        os.chmod(target, entry.mode)
    os.utime(target, ns=(entry.mtime, entry.mtime), follow_symlinks=False)


def restore(repository, commit, output, owner):
    entries = walk(repository, commit.tree, commit.root)
    sums = next(entries)
    check(sums == commit.totals, f"the tree of commit {commit.id} holds {sums}, the commit says {commit.totals}")
    output = os.fsencode(output)
    made = {()}
    directories = []
    count = 0
    for entry in entries:
        path = b"/".join(entry.path)
        target = os.path.join(output, path)
        if tuple(entry.path[:-1]) not in made:
            fail(path, "there is no directory to put it in")
            continue
        try:
            create(repository, entry, target)
            if entry.kind == 1:
                made.add(tuple(entry.path))
                directories.append((entry, target))
            else:
                finish(repository, entry, target, owner)
            count += 1
        except (Broken, OSError, OverflowError) as error:
            fail(path, error)
    # Behind all else: a directory may forbid writing, and creating something in it changes its time.
    for entry, target in reversed(directories):
        try:
            finish(repository, entry, target, owner)
        except (Broken, OSError, OverflowError) as error:
            fail(target, error)
    return count


def main():
    parser = argparse.ArgumentParser(description="Restores a commit from a local atfs repository, without atfs.")
    parser.add_argument("repository", help="the folder that holds format.json")
    parser.add_argument("revision", help="a branch, a tag, or (the beginning of) a commit id")
    parser.add_argument("output", help="a folder that does not exist yet, or is empty")
    parser.add_argument("--owner", action="store_true", help="restore owners and groups too (needs root)")
    arguments = parser.parse_args()
    output = arguments.output
    if os.path.lexists(output) and not (stat.S_ISDIR(os.lstat(output).st_mode) and not os.listdir(output)):
        parser.error(f"{output} exists and is not an empty folder")
    try:
        repository = Repository(arguments.repository)
        commit = repository.head(arguments.revision)
        os.makedirs(output, exist_ok=True)
        count = restore(repository, commit, output, arguments.owner)
    except Broken as error:
        warn(error)
        return 1
    print(f"{count} entries of commit {commit.id} restored to {output}")
    if failures:
        warn(f"{failures} problems, see above")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
