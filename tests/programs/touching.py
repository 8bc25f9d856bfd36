"""Touches anonymous, file and shared memory in known steps, and says after each what the kernel counts."""

import json
import mmap
import tempfile
import time

MB = 1 << 20
PAGE = 4096
kept = []


def touch(area, size, write):
    for offset in range(0, size, PAGE):
        if write:
            area[offset] = 1
        else:
            area[offset]


def counted():
    with open("/proc/self/status") as status:
        fields = dict(line.split(":", 1) for line in status)
    return [int(fields[name].split()[0]) * 1024 for name in ("RssAnon", "RssFile", "RssShmem")]


def say(step):
    """Stays as it is for some intervals, in which nothing is allocated that would count."""
    begin = time.monotonic_ns()
    parts = counted()
    while time.monotonic_ns() - begin < 80_000_000:
        time.sleep(0.005)
    steps.append([step, begin, time.monotonic_ns(), *parts])


steps = []
backing = tempfile.TemporaryFile()
backing.write(bytes(64 * MB))
backing.flush()
say("before")
area = mmap.mmap(-1, 40 * MB, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
say("mapped")
touch(area, 40 * MB, True)
say("anonymous")
file = mmap.mmap(backing.fileno(), 64 * MB, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE)
touch(file, 24 * MB, False)
say("file")
for offset in range(32 * MB, 40 * MB, PAGE):
    file[offset] = 1
say("written")
shared = mmap.mmap(-1, 16 * MB, mmap.MAP_SHARED | mmap.MAP_ANONYMOUS)
touch(shared, 16 * MB, True)
say("shared")
area.close()
say("given back")
print(json.dumps(steps))
