#!/usr/bin/env python3
"""What the decisions about files rest on, measured on the disk that DIR is on.

    python3 benches/disk.py [DIR]
    python3 benches/disk.py --floor 50000 [DIR]

Append: `pwrite` and `fdatasync`, against stores through a writable map and `msync`, into files that were
allocated, filled with zeroes ahead, or used before. Many files: one `fdatasync` after the other, sixteen
threads of them, one `syncfs`, or each file written back and then one flush for all. A script, because stores through a map are unsafe in Rust and the workspace keeps
`unsafe` to one file. Every figure is a median; the order of the cases changes from round to round.

The floor: what 100-byte records that are due at a fixed rate wait for when nothing but the disk stands between
them and their sync. One loop writes whatever is due and syncs it. No broker on this disk can be faster.
"""

import ctypes
import mmap
import os
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

FILE = 32 << 20
FILL = 64 << 10
APPENDS = {4 << 10: 300, 64 << 10: 200}
ROUNDS = 5
# Of sync_file_range: write what is dirty; wait before, write, wait after.
BEGIN, WHOLLY = 2, 7
LIBC = ctypes.CDLL(None, use_errno=True)


def make(path, state):
    """A file of FILE bytes whose blocks are allocated, or also written."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT)
    os.posix_fallocate(handle, 0, FILE)
    if state != "allocated":
        byte = b"\0" if state == "zeroed" else b"\7"
        for at in range(0, FILE, FILL):
            os.pwrite(handle, byte * FILL, at)
    os.fsync(handle)
    return handle


def append(home, state, size, through_map):
    """The median time of appends of so many bytes, each synced before the next."""
    path = os.path.join(home, "segment")
    handle = make(path, state)
    view = mmap.mmap(handle, FILE)
    block = os.urandom(size)
    times = []
    for number in range(APPENDS[size]):
        at = number * size
        begun = time.perf_counter()
        if through_map:
            view[at : at + size] = block
            view.flush(at, size)
        else:
            os.pwrite(handle, block, at)
            os.fdatasync(handle)
        times.append(time.perf_counter() - begun)
    view.close()
    os.close(handle)
    os.remove(path)
    return statistics.median(times) * 1e6


def stream(home, state):
    """MB/s of a file written in 64 KiB, synced after each MiB."""
    path = os.path.join(home, "segment")
    handle = make(path, state)
    block = os.urandom(FILL)
    begun = time.perf_counter()
    for at in range(0, FILE, FILL):
        os.pwrite(handle, block, at)
        if (at + FILL) % (1 << 20) == 0:
            os.fdatasync(handle)
    rate = FILE / (time.perf_counter() - begun) / 1e6
    os.close(handle)
    os.remove(path)
    return rate


def write_back(handle, how):
    """Has the file's pages written, without a flush of the disk's cache."""
    zero = ctypes.c_int64(0)
    if LIBC.sync_file_range(handle, zero, zero, how) != 0:
        raise OSError(ctypes.get_errno(), "sync_file_range")


def many(home, count, way):
    """Durable appends of 4 KiB a second, one to each of `count` files in every round."""
    handles = []
    for number in range(count):
        handle = os.open(os.path.join(home, f"many-{number}"), os.O_RDWR | os.O_CREAT)
        for at in range(0, 1 << 20, FILL):
            os.pwrite(handle, b"\0" * FILL, at)
        os.fsync(handle)
        handles.append(handle)
    block = os.urandom(4096)
    times = []
    with ThreadPoolExecutor(16) as pool:
        for turn in range(20):
            for handle in handles:
                os.pwrite(handle, block, turn * 4096)
            begun = time.perf_counter()
            if way == "threads":
                list(pool.map(os.fdatasync, handles))
            elif way == "syncfs":
                if LIBC.syncfs(handles[0]) != 0:
                    raise OSError(ctypes.get_errno(), "syncfs")
            elif way == "one flush":
                for handle in handles:
                    write_back(handle, BEGIN)
                for handle in handles:
                    write_back(handle, WHOLLY)
                os.pwrite(handles[0], block, turn * 4096)
                os.fdatasync(handles[0])
            else:
                for handle in handles:
                    os.fdatasync(handle)
            times.append(time.perf_counter() - begun)
    for number, handle in enumerate(handles):
        os.close(handle)
        os.remove(os.path.join(home, f"many-{number}"))
    return count / statistics.median(times)


def floor(home, rate):
    """The milliseconds, at these percentiles, that records wait which are due at this rate for ten seconds."""
    size, seconds = 112, 10
    path = os.path.join(home, "segment")
    handle = os.open(path, os.O_RDWR | os.O_CREAT)
    for at in range(0, rate * seconds * size, FILL):
        os.pwrite(handle, b"\0" * FILL, at)
    os.fsync(handle)
    waits, begun = [], time.perf_counter()
    while len(waits) < rate * seconds:
        due = min(int((time.perf_counter() - begun) * rate), rate * seconds)
        if due == len(waits):
            time.sleep(50e-6)
            continue
        os.pwrite(handle, b"x" * (due - len(waits)) * size, len(waits) * size)
        os.fdatasync(handle)
        done = time.perf_counter() - begun
        waits.extend(done - number / rate for number in range(len(waits), due))
    os.close(handle)
    os.remove(path)
    waits.sort()
    return [waits[int(len(waits) * part)] * 1e3 for part in (0.5, 0.99, 0.999)]


def medians(cases):
    """Runs every case in ROUNDS rounds, forwards and backwards in turn."""
    found = {name: [] for name, _ in cases}
    for turn in range(ROUNDS):
        for name, run in cases if turn % 2 == 0 else reversed(cases):
            found[name].append(run())
    return {name: statistics.median(values) for name, values in found.items()}


def main():
    rate, rest = None, sys.argv[1:]
    if rest and rest[0] == "--floor":
        rate, rest = int(rest[1]), rest[2:]
    with tempfile.TemporaryDirectory(dir=rest[0] if rest else ".") as home:
        if rate:
            for _ in range(ROUNDS):
                p50, p99, p999 = floor(home, rate)
                print(f"{rate} records/s, each synced: p50 {p50:.2f}, p99 {p99:.2f}, p99.9 {p999:.2f} ms")
            return
        states = ["allocated", "zeroed", "used"]
        appends = [
            (
                f"{size >> 10} KiB, {state}, {'map + msync' if mapped else 'pwrite + fdatasync'}",
                lambda s=state, z=size, m=mapped: append(home, s, z, m),
            )
            for size in APPENDS
            for state in states
            for mapped in (False, True)
        ]
        for name, value in medians(appends).items():
            print(f"append of {name}: {value:.0f} us")
        streams = [(state, lambda s=state: stream(home, s)) for state in states]
        for name, value in medians(streams).items():
            print(f"a file synced after each MiB, {name}: {value:.0f} MB/s")
        ways = [
            (f"{count} files, {way}", lambda c=count, w=way: many(home, c, w))
            for count in (64, 256)
            for way in ("one after the other", "threads", "syncfs", "one flush")
        ]
        for name, value in medians(ways).items():
            print(f"4 KiB to each of {name}: {value:.0f} durable/s")
        print("load", *os.getloadavg())


if __name__ == "__main__":
    main()
