"""What reports must keep apart, and what they must not lose. Arguments: the folder of our extension module, then
whatever is to be seen in the command line.
"""

import sys
import threading

sys.path.insert(0, sys.argv[1])

import conformance

UNIT = 1 << 20


def allocate(name, size):
    return conformance.map(size) if name == "mmap" else conformance.allocate(name, size)  #: mixed


def mixed():
    """One line, three allocators, different sizes and numbers."""
    for name, units in ("valloc", 3), ("posix_memalign", 5), ("mmap", 7), ("valloc", 11), ("valloc", 13):
        allocate(name, units * UNIT)


def shared(count, units):
    """The same stack in two threads, which allocate different amounts."""
    for _ in range(count):
        conformance.allocate("memalign", units * UNIT)  #: shared


def in_threads():
    for name, count, units in [("much", 4, 6), ("little", 2, 1)]:
        thread = threading.Thread(target=shared, args=(count, units), name=name)
        thread.start()
        thread.join()


def recursive(depth):
    """Each level allocates: what is below it is in the total of its function once."""
    conformance.allocate("valloc", UNIT)  #: level
    if depth > 1:
        recursive(depth - 1)  #: deeper


def small_functions():
    """Forty functions with a hundredth of a percent each, far below the last five percent of all bytes."""
    space = {"allocate": conformance.allocate}
    for number in range(40):
        exec("def small_%d():\n  allocate('valloc', 10000 + %d)\n" % (number, number), space)
        space["small_%d" % number]()


def freed_by_another_thread():
    block = conformance.allocate("pvalloc", 2 * UNIT)  #: freed by another
    thread = threading.Thread(target=conformance.free, args=(block,))
    thread.start()
    thread.join()


def imports():
    import decimal


in_threads()
mixed()
recursive(7)  #: recursive
small_functions()
freed_by_another_thread()
imports()
