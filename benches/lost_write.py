#!/usr/bin/env python3
"""Who is told of a write that ext4 gives up, on which docs/adr/0044-no-syncfs.md rests.

    sudo python3 benches/lost_write.py

A file system in an image, a file whose blocks are reserved and not written, and a write to it. Before the write
reaches the disk, the block that says where the file's blocks are is spoiled, as failing disks do. Then the write is
synced in four ways. Needs root, util-linux and e2fsprogs; it works in a mount namespace of its own and leaves
nothing behind.
"""

import ctypes
import os
import re
import subprocess
import sys
import tempfile

LIBC = ctypes.CDLL(None, use_errno=True)
PIECES, PIECE, APART = 20, 256 << 10, 512 << 10
WRITTEN = b"acknowledged".ljust(4096, b".")
ROOT_BIN = ":/usr/sbin:/sbin"


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def fdatasync(handle):
    try:
        os.fdatasync(handle)
        return "ok"
    except OSError as error:
        return error.strerror


def syncfs(handle):
    return "ok" if LIBC.syncfs(handle) == 0 else os.strerror(ctypes.get_errno())


def read_back(handle):
    """What is there when the page is not in memory any more."""
    os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
    try:
        return "there" if os.pread(handle, len(WRITTEN), 0) == WRITTEN else "lost"
    except OSError as error:
        return f"lost ({error.strerror})"


def extent_block(device):
    """Where on the device the block is that says where the blocks of the file are."""
    size = int(re.search(r"Block size:\s+(\d+)", run("dumpe2fs", "-h", device)).group(1))
    root = re.search(r"^\s*0/ 1\s.*-\s+\d+\s+(\d+)\s+\d+\s*$", run("debugfs", "-R", "ex /file", device), re.M)
    return int(root.group(1)) * size


def prepare(home, errors):
    """An ext4 that treats errors so, with a file of reserved pieces; its path and its loop device."""
    image, mount = os.path.join(home, "image"), os.path.join(home, "disk")
    run("truncate", "-s", "128M", image)
    run("mkfs.ext4", "-q", "-F", "-e", errors, image)
    os.mkdir(mount)
    run("mount", "-o", "loop", image, mount)
    handle = os.open(os.path.join(mount, "file"), os.O_RDWR | os.O_CREAT)
    os.ftruncate(handle, PIECES * APART)
    for piece in range(PIECES):
        os.posix_fallocate(handle, piece * APART, PIECE)
    os.fsync(handle)
    os.close(handle)
    run("umount", mount)
    run("mount", "-o", "loop", image, mount)
    device = run("findmnt", "-n", "-o", "SOURCE", mount).strip()
    return image, mount, device


def case(errors, ways):
    with tempfile.TemporaryDirectory() as home:
        run("mount", "-t", "tmpfs", "-o", "size=200m", "none", home)
        image, mount, device = prepare(home, errors)
        place = extent_block(device)
        root = os.open(mount, os.O_RDONLY)
        handle = os.open(os.path.join(mount, "file"), os.O_RDWR)
        # Whatever went wrong before is told now, and each has had a sync of its own.
        before = [syncfs(root), syncfs(root), fdatasync(handle)]
        assert before == ["ok"] * 3, before
        os.pwrite(handle, WRITTEN, 0)
        with open(image, "r+b") as disk:
            disk.seek(place)
            disk.write(b"\0" * 16)
        # The kernel has forgotten the block, as it may at any time.
        block = os.open(device, os.O_RDONLY)
        os.posix_fadvise(block, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(block)
        calls = {"fdatasync": lambda: fdatasync(handle), "syncfs": lambda: syncfs(root)}
        told = [f"{way}: {calls[way]()}" for way in ways]
        told.append(read_back(handle))
        os.close(handle)
        os.close(root)
        run("umount", mount)
        run("umount", home)
        return told


def main():
    if "inside" not in sys.argv:
        os.environ["PATH"] += ROOT_BIN
        os.execvp("unshare", ["unshare", "--mount", sys.executable, __file__, "inside"])
    print(os.uname().release)
    for errors in ("continue", "remount-ro"):
        for ways in (["fdatasync", "fdatasync"], ["syncfs", "fdatasync", "syncfs"]):
            print(f"errors={errors}: " + ", ".join(case(errors, ways)))


if __name__ == "__main__":
    main()
