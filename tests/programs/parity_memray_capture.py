"""Prints what a capture of memray 1.20 holds as JSON, read through memray's own `FileReader`.

    parity_memray_capture.py CAPTURE SCRIPT LINE

`frames` are `[file, function, line]`. `stacks` are lists of indexes of frames, innermost first. `rows` are
`[stack, allocator, size, [made, at the peak, at the end, leaked]]`: numbers of allocations, in all and alive at three
moments. The end is when the program makes the allocation of its last line, which is the one given; what is leaked lives
when memray stops. memray's own API merges allocators and sizes, so the records are replayed, and what comes out must be
what memray says.
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
    def __init__(self, end):
        self.end = end
        self.frames, self.stacks = Index(), Index()
        self.known_stacks = {}
        self.ends = set()
        self.made, self.at_peak, self.at_end, self.leaked = Counter(), Counter(), Counter(), Counter()
        self.peak_bytes = 0

    def stack(self, record):
        if record.stack_id not in self.known_stacks:
            self.known_stacks[record.stack_id] = self.stack_of(record)
        return self.known_stacks[record.stack_id]

    def stack_of(self, record):
        frames = [(file, function, line) for function, file, line in record.stack_trace()]
        stack = self.stacks[tuple(self.frames[frame] for frame in frames)]
        if frames and (frames[0][0], frames[0][2]) == self.end:
            self.ends.add(stack)
        return stack

    def replay(self, records):
        """Finds what is alive when the sum is highest; the last time, if it is so more than once."""
        live, total = {}, 0
        covered = []
        # What changed since the last peak, so that one pass is enough.
        changed = Counter()
        for record in records:
            allocator = AllocatorType(record.allocator)
            is_free = allocator in (AllocatorType.FREE, AllocatorType.MUNMAP)
            address = (allocator in (AllocatorType.MMAP, AllocatorType.MUNMAP), record.address)
            if is_free:
                site = live.pop(address, None)
                if site is None:
                    continue
                if allocator == AllocatorType.MUNMAP and site[2] != record.size:
                    sys.exit(f"a mapping of {site[2]} bytes is taken away in part: {record.size} bytes")
                total -= site[2]
                changed[site] -= 1
                continue
            stack = self.stack(record)
            if address in live:
                # A block whose end memray has not seen, or a mapping over another, to which it adds.
                before = live.pop(address)
                if address[0]:
                    covered.append(before)
                else:
                    changed[before] -= 1
            live[address] = site = (stack, allocator.name.lower(), record.size)
            self.made[site] += 1
            changed[site] += 1
            total += record.size
            if total >= self.peak_bytes:
                self.peak_bytes = total
                self.at_peak.update(changed)
                changed.clear()
            if stack in self.ends:
                self.at_end = Counter([*live.values(), *covered])
        self.leaked = Counter([*live.values(), *covered])

    def check(self, reader):
        if self.peak_bytes != reader.metadata.peak_memory:
            sys.exit(f"replayed to {self.peak_bytes} bytes, memray says {reader.metadata.peak_memory}")
        self.check_moment("peak", self.at_peak, reader.get_high_watermark_allocation_records(merge_threads=True))
        self.check_moment("end", self.leaked, reader.get_leaked_allocation_records(merge_threads=True))
        if not self.at_end:
            sys.exit("the last line of the program allocates nothing")

    def check_moment(self, name, replayed, records):
        wanted, found = Counter(), Counter()
        for record in records:
            stack = self.stack_of(record)
            wanted[stack, "bytes"] += record.size
            wanted[stack, "count"] += record.n_allocations
        for (stack, _allocator, size), count in replayed.items():
            found[stack, "bytes"] += size * count
            found[stack, "count"] += count
        different = [key for key in wanted | found if wanted[key] != found[key]]
        if different:
            sys.exit(f"replayed to another {name} than memray's: {different[:5]}")

    def write(self, output):
        moments = self.made, self.at_peak, self.at_end, self.leaked
        rows = [(*site, [counts[site] for counts in moments]) for site in sorted(self.made)]
        json.dump({"frames": list(self.frames), "stacks": list(self.stacks), "rows": rows}, output)


def main(path, script, line):
    reader = FileReader(path)
    capture = Capture((script, int(line)))
    capture.replay(reader.get_allocation_records())
    capture.check(reader)
    capture.write(sys.stdout)


main(*sys.argv[1:])
