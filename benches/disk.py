#!/usr/bin/env python3
"""What the decisions about files rest on, measured on the disk that DIR is on.

    python3 benches/disk.py [DIR]

Append: `pwrite` and `fdatasync`, against stores through a writable map and `msync`, into files that were
allocated, filled with zeroes ahead, or used before. Many files: one `fdatasync` after the other, sixteen
threads of them, one `syncfs`, or each file written back and then one flush for all. A script, because stores through a map are unsafe in Rust and the workspace keeps
`unsafe` to one file. Every figure is a median; the order of the cases changes from round to round.
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


def medians(cases):
    """Runs every case in ROUNDS rounds, forwards and backwards in turn."""
    found = {name: [] for name, _ in cases}
    for turn in range(ROUNDS):
        for name, run in cases if turn % 2 == 0 else reversed(cases):
            found[name].append(run())
    return {name: statistics.median(values) for name, values in found.items()}


def main():
    place = sys.argv[1] if len(sys.argv) > 1 else "."
    with tempfile.TemporaryDirectory(dir=place) as home:
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
