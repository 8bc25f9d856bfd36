"""Each case in a child of its own, which has a peak, leaks and temporary allocations of its own. Argument: the folder of
our extension module.

Sizes are in units that are far above what the interpreter allocates, so that it cannot move a peak. Blocks come from
`valloc`, which nothing else calls.
"""

import os
import sys
import threading

sys.path.insert(0, sys.argv[1])

import conformance

UNIT = 3 << 20


def take(units):
    return conformance.allocate("valloc", units * UNIT)  #: take


def give(block):
    conformance.free(block)


def same_size_again():
    for _ in range(2):
        give(take(1))  #: again


def larger_at_the_end():
    give(take(1))  #: smaller first
    give(take(2))  #: larger last


def smaller_at_the_end():
    give(take(2))  #: larger first
    give(take(1))  #: smaller last


def one_line():
    blocks = []
    for _ in range(2):
        blocks.append(take(3))  #: loop
    for block in blocks:
        give(block)


def two_lines():
    first = take(1)  #: line one
    second = take(2)  #: line two
    give(first)
    give(second)


def last_of_all():
    give(take(1))  #: before
    take(2)  #: last


def spiky(units=10):
    """Each level allocates and frees what it keeps only afterwards."""
    give(take(units))  #: spike
    kept = take(units)  #: kept
    if units > 1:
        spiky(units - 2 if units > 2 else 1)  #: deeper
    give(kept)


def hundred_blocks():
    for _ in range(100):
        conformance.allocate("valloc", UNIT // 100)  #: hundred


def map_units(units):
    return conformance.map(units * UNIT)  #: map


def unmap_units(base, first, units):
    assert conformance.unmap(base + first * UNIT, units * UNIT) == 0


def half_unmapped():
    unmap_units(map_units(2), 0, 1)  #: half
    map_units(10)  #: after half


def ends_unmapped():
    base = map_units(4)  #: without ends
    unmap_units(base, 0, 1)
    unmap_units(base, 3, 1)
    map_units(10)  #: after ends


def side_by_side(count, units):
    """Mappings without a gap between, each a mapping of its own."""
    base = map_units(count * units)  #: area
    unmap_units(base, 0, count * units)
    for number in range(count):
        conformance.map(units * UNIT, base + number * units * UNIT)  #: side by side
    return base


def two_unmapped_at_once():
    unmap_units(side_by_side(2, 4), 0, 8)
    map_units(10)  #: after two


def four_unmapped_by_twos():
    base = side_by_side(4, 2)
    unmap_units(base, 0, 4)
    unmap_units(base, 4, 4)
    map_units(10)  #: after four


def holes():
    base = map_units(5)  #: with holes
    unmap_units(base, 1, 1)
    unmap_units(base, 3, 1)
    map_units(10)  #: after holes


def one_hole():
    unmap_units(map_units(8), 1, 1)  #: with a hole
    map_units(10)  #: after the hole


def leak_in_the_middle():
    give(take(1))  #: not leaked
    take(2)  #: leaked
    give(take(3))  #: not leaked either
    for _ in range(10):
        take(1)  #: ten leaks


def leaks_of_two_threads():
    def work():
        for _ in range(2):
            conformance.allocate("posix_memalign", UNIT)  #: by a thread

    for name in "one", "two":
        thread = threading.Thread(target=work, name=name)
        thread.start()
        thread.join()


def nested():
    """Of five blocks inside of each other a threshold of N counts the N + 1 innermost."""
    blocks = [take(1), take(1), take(1), take(1), take(1)]  #: nested
    while blocks:
        give(blocks.pop())


def in_two_threads_by_turns():
    """Each frees what it has made last, whatever the other does between; a pipe makes them wait without allocating."""
    first, second = os.pipe(), os.pipe()

    def work(own, other):
        for _ in range(3):
            os.read(own[0], 1)
            block = conformance.allocate("memalign", UNIT)  #: by turns
            os.write(other[1], b"x")
            os.read(own[0], 1)
            give(block)
            os.write(other[1], b"x")

    threads = [threading.Thread(target=work, args=pipes) for pipes in ((first, second), (second, first))]
    for thread in threads:
        thread.start()
    os.write(first[1], b"x")
    for thread in threads:
        thread.join()


def freed_by_another_thread():
    """The thread is there before the block, so that nothing is allocated for it between."""
    reader, writer = os.pipe()
    blocks = []
    thread = threading.Thread(target=lambda: (os.read(reader, 1), give(blocks.pop())))
    thread.start()
    blocks.append(take(1))  #: freed elsewhere
    os.write(writer, b"x")
    thread.join()


def mixed_allocators():
    for name in "valloc", "posix_memalign", "malloc":
        conformance.allocate(name, UNIT)  #: mixed


CASES = (
    same_size_again, larger_at_the_end, smaller_at_the_end, one_line, two_lines, last_of_all, spiky, hundred_blocks,
    half_unmapped, ends_unmapped, two_unmapped_at_once, four_unmapped_by_twos, holes, one_hole, leak_in_the_middle,
    leaks_of_two_threads, nested, in_two_threads_by_turns, freed_by_another_thread, mixed_allocators,
)  # fmt: skip


def in_a_child(case):
    pid = os.fork()
    if pid == 0:
        try:
            case()  #: case
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitpid(pid, 0)[1]


# What the interpreter makes at the first call of a function would count with it.
give(take(1))
for case in CASES:
    print(case.__name__, in_a_child(case))
