"""Maps, unmaps and moves pages in all ways that change what is mapped, from lines that the tests know."""

import ctypes
import mmap
import sys
import threading

libc = ctypes.CDLL(None, use_errno=True)
PAGE = 4096
READ_WRITE, NO_ACCESS = 3, 0
SHARED, PRIVATE, FIXED, ANONYMOUS, STACK = 0x01, 0x02, 0x10, 0x20, 0x20000
MAY_MOVE, MOVE_FIXED = 1, 2
FAILED = ctypes.c_void_p(-1).value
SYS_MMAP, SYS_MUNMAP = 9, 11

libc.mmap.restype = libc.mremap.restype = libc.syscall.restype = ctypes.c_void_p
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
word = ctypes.c_size_t


def map_pages(count, address=None, protection=READ_WRITE, flags=PRIVATE | ANONYMOUS, file=-1):
    return libc.mmap(ctypes.c_void_p(address), word(count * PAGE), protection, flags, file, word(0))  #: mmap


def map_at(address, count, protection=READ_WRITE):
    found = map_pages(count, address, protection, PRIVATE | ANONYMOUS | FIXED)  #: fixed
    assert found == address


def unmap(address, count):
    assert libc.munmap(address, count * PAGE) == 0


def move(address, old, new, flags=MAY_MOVE, to=0):
    return libc.mremap(ctypes.c_void_p(address), word(old * PAGE), word(new * PAGE), flags, ctypes.c_void_p(to))  #: mremap


def of_the_module():
    area = mmap.mmap(-1, 1234577)  #: module
    area.close()
    area = mmap.mmap(-1, 1234579)  #: module kept
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(area))


def raw():
    numbers = word(0), word(401 * PAGE), word(READ_WRITE), word(PRIVATE | ANONYMOUS), word(2**64 - 1), word(0)
    address = libc.syscall(word(SYS_MMAP), *numbers)  #: raw
    map_pages(409, flags=SHARED | ANONYMOUS)  #: shared
    assert libc.syscall(word(SYS_MUNMAP), word(address), word(401 * PAGE)) in (0, None)


def partly():
    base = map_pages(1000)  #: partly
    unmap(base + 100 * PAGE, 200)
    base = map_pages(419)  #: one byte
    assert libc.munmap(base, 1) == 0
    base = map_pages(421)  #: from the end
    unmap(base + 400 * PAGE, 21)
    base = map_pages(8)  #: around
    map_at(base, 4)  #: left
    map_at(base + 4 * PAGE, 4)  #: right
    unmap(base + 2 * PAGE, 4)


def over_another():
    base = map_pages(500)  #: below
    map_at(base + 50 * PAGE, 101)  #: above
    base = map_pages(431)  #: taken back
    map_at(base + 11 * PAGE, 120, NO_ACCESS)


def not_heap():
    map_pages(601, protection=NO_ACCESS)
    map_pages(613, flags=PRIVATE | ANONYMOUS | STACK)
    with open(sys.executable, "rb") as file:
        map_pages(2, protection=1, flags=PRIVATE, file=file.fileno())
        map_pages(2, protection=1, flags=SHARED, file=file.fileno())
    reservation = map_pages(617, protection=NO_ACCESS)
    assert move(reservation, 617, 1237) != FAILED
    assert map_pages(2**50) == FAILED
    assert map_pages(0) == FAILED


def moved():
    base = map_pages(701)  #: before growth
    assert move(base, 701, 1403) != FAILED  #: growth
    base = map_pages(709)  #: before shrinking
    assert move(base, 709, 353) == base  #: shrinking
    base = map_pages(719)  #: immovable
    assert move(base, 719, 2**45) == FAILED
    assert libc.munmap(base + 1, 719 * PAGE) == -1
    first = map_pages(307)  #: first
    second = map_pages(311)  #: second
    assert move(first, 307, 307, MAY_MOVE | MOVE_FIXED, second) == second  #: onto the second
    base = map_pages(727)  #: before growth and end
    base = move(base, 727, 1453)  #: growth and end
    unmap(base, 1453)


def with_threads():
    threading.stack_size(77 << 20)
    threads = [threading.Thread(target=map_pages, args=(733,)) for _ in range(3)]
    for thread in threads:
        thread.start()
        thread.join()


if sys.argv[1] == "threads":
    with_threads()  #: with_threads
else:
    of_the_module()  #: of_the_module
    raw()  #: raw
    partly()  #: partly
    over_another()  #: over_another
    not_heap()  #: not_heap
    moved()  #: moved
