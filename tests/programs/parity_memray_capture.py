"""Prints what a capture of memray 1.20 holds as JSON, read through memray's own `FileReader`.

    parity_memray_capture.py CAPTURE

`frames` are `[file, function, line]`. `stacks` are lists of indexes of frames, innermost first. `made` counts all
allocations, `peak` those alive at the high water mark: `[stack, allocator, size, count]`. memray's own API merges
allocators and sizes at the peak, so the records are replayed, and the result must be the one that memray gives.
"""

import json
import sys
from collections import Counter

from memray import AllocatorType, FileReader


class Index(dict):
    """Numbers things in the order in which they are first asked for."""

    def __missing__(self, key):
        self[key] = number = len(self)
        return number


class Capture:
    def __init__(self):
        self.frames, self.stacks = Index(), Index()
        self.known_stacks = {}
        self.made = Counter()
        self.at_peak = Counter()
        self.peak_bytes = 0

    def stack(self, record):
        if record.stack_id not in self.known_stacks:
            self.known_stacks[record.stack_id] = self.stack_of(record)
        return self.known_stacks[record.stack_id]

    def stack_of(self, record):
        frames = ((file, function, line) for function, file, line in record.stack_trace())
        return self.stacks[tuple(self.frames[frame] for frame in frames)]

    def replay(self, records):
        """Finds what is alive when the sum is highest; the last time, if it is so more than once."""
        live, total = {}, 0
        # What changed since the last peak, so that one pass is enough.
        changed = Counter()
        for record in records:
            allocator = AllocatorType(record.allocator)
            is_end = allocator in (AllocatorType.FREE, AllocatorType.MUNMAP)
            address = (allocator in (AllocatorType.MMAP, AllocatorType.MUNMAP), record.address)
            if is_end:
                site = live.pop(address, None)
                if site is None:
                    continue
                if allocator == AllocatorType.MUNMAP and site[2] != record.size:
                    sys.exit(f"a mapping of {site[2]} bytes is taken away in part: {record.size} bytes")
                total -= site[2]
                changed[site] -= 1
                continue
            live[address] = site = (self.stack(record), allocator.name.lower(), record.size)
            self.made[site] += 1
            changed[site] += 1
            total += record.size
            if total >= self.peak_bytes:
                self.peak_bytes = total
                self.at_peak.update(changed)
                changed.clear()

    def check(self, reader):
        if self.peak_bytes != reader.metadata.peak_memory:
            sys.exit(f"replayed to {self.peak_bytes} bytes, memray says {reader.metadata.peak_memory}")
        wanted, found = Counter(), Counter()
        for record in reader.get_high_watermark_allocation_records(merge_threads=True):
            stack = self.stack_of(record)
            wanted[stack, "bytes"] += record.size
            wanted[stack, "count"] += record.n_allocations
        for (stack, _allocator, size), count in self.at_peak.items():
            found[stack, "bytes"] += size * count
            found[stack, "count"] += count
        different = [key for key in wanted | found if wanted[key] != found[key]]
        if different:
            sys.exit(f"replayed to another peak than memray's: {different[:5]}")

    def write(self, output):
        def rows(counts):
            return [(*site, count) for site, count in sorted(counts.items()) if count]

        json.dump(
            {
                "frames": list(self.frames),
                "stacks": list(self.stacks),
                "made": rows(self.made),
                "peak": rows(self.at_peak),
            },
            output,
        )


def main(path):
    reader = FileReader(path)
    capture = Capture()
    capture.replay(reader.get_allocation_records())
    capture.check(reader)
    capture.write(sys.stdout)


main(sys.argv[1])
