"""Maps pages that are no heap, makes some of them heap, and moves the end of the data, from lines that the tests know."""

import ctypes
import sys
import tempfile
import threading

libc = ctypes.CDLL(None, use_errno=True)
PAGE = 4096
READ, READ_WRITE, NO_ACCESS = 1, 3, 0
SHARED, PRIVATE, FIXED, ANONYMOUS, NORESERVE, STACK = 0x01, 0x02, 0x10, 0x20, 0x4000, 0x20000
MAY_MOVE = 1
FAILED = ctypes.c_void_p(-1).value
SYS_MPROTECT, SYS_PKEY_MPROTECT, SYS_BRK = 10, 329, 12

libc.mmap.restype = libc.mremap.restype = libc.sbrk.restype = ctypes.c_void_p
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
libc.sbrk.argtypes = [ctypes.c_ssize_t]
libc.syscall.restype = ctypes.c_long
word = ctypes.c_size_t

backing = tempfile.TemporaryFile()
backing.truncate(100 * PAGE)


def map_pages(count, protection, flags, address=None, file=-1):
    found = libc.mmap(ctypes.c_void_p(address), word(count * PAGE), protection, flags, file, word(0))  #: mmap
    assert found != FAILED
    return found


def reserve(count):
    return map_pages(count, NO_ACCESS, PRIVATE | ANONYMOUS | NORESERVE)


def map_file(count, flags, address=None, protection=READ):
    return map_pages(count, protection, flags, address, backing.fileno())


def usable(address, count, protection=READ_WRITE):
    return libc.mprotect(address, count * PAGE, protection)  #: mprotect


def unmap(address, count):
    assert libc.munmap(address, count * PAGE) == 0


def kinds():
    reserve(601)  #: reserved
    map_pages(607, NO_ACCESS, SHARED | ANONYMOUS)  #: reserved and shared
    map_file(37, PRIVATE)  #: private file
    map_file(41, PRIVATE, protection=READ_WRITE)  #: writable private file
    map_file(43, SHARED)  #: shared file
    map_pages(613, READ_WRITE, PRIVATE | ANONYMOUS | STACK)  #: stack
    unmap(map_file(47, PRIVATE), 47)  #: gone file


def committed():
    base = reserve(1000)  #: reservation
    assert usable(base + 100 * PAGE, 200) == 0  #: commit
    assert usable(base + 100 * PAGE, 200) == 0  #: nothing new
    assert usable(base + 100 * PAGE, 200, NO_ACCESS) == 0  #: access taken away
    unmap(base + 250 * PAGE, 150)
    base = reserve(503)  #: raw reservation
    assert libc.syscall(word(SYS_MPROTECT), word(base), word(101 * PAGE), word(READ)) == 0  #: raw commit
    base = reserve(509)  #: keyed reservation
    numbers = word(SYS_PKEY_MPROTECT), word(base), word(103 * PAGE), word(READ_WRITE), word(2**64 - 1)
    assert libc.syscall(*numbers) == 0  #: keyed commit
    base = reserve(521)  #: refused reservation
    assert usable(base + 1, 107) == -1
    base = map_file(53, PRIVATE)  #: file made writable
    assert usable(base, 53) == 0


def over():
    base = reserve(500)  #: under all
    map_pages(50, READ_WRITE, PRIVATE | ANONYMOUS | FIXED, base + 100 * PAGE)  #: heap over reserved
    map_file(20, PRIVATE | FIXED, base + 200 * PAGE)  #: file over reserved
    map_pages(10, NO_ACCESS, PRIVATE | ANONYMOUS | FIXED, base + 100 * PAGE)  #: reserved over heap
    map_file(5, SHARED | FIXED, base + 205 * PAGE)  #: shared over private


def holes():
    base = reserve(40)  #: row of kinds
    map_file(10, PRIVATE | FIXED, base)  #: first ten
    map_pages(10, READ_WRITE, PRIVATE | ANONYMOUS | FIXED, base + 10 * PAGE)  #: second ten
    map_pages(10, READ_WRITE, PRIVATE | ANONYMOUS | STACK | FIXED, base + 30 * PAGE)  #: last ten
    unmap(base + 5 * PAGE, 30)


def moved():
    base = reserve(617)  #: before its move
    found = libc.mremap(ctypes.c_void_p(base), word(617 * PAGE), word(1237 * PAGE), MAY_MOVE, None)  #: moved
    assert found != FAILED


def end_of_data():
    start = libc.sbrk(1234577)  #: grown
    assert libc.sbrk(0) == start + 1234577
    libc.sbrk(-1000)
    libc.sbrk(234571)  #: grown again
    libc.sbrk(-234572)
    now = libc.sbrk(0)
    assert libc.syscall(word(SYS_BRK), word(now + 333331)) == now + 333331  #: raw
    assert libc.syscall(word(SYS_BRK), word(2**46)) == now + 333331


def threads():
    threading.stack_size(77 << 20)
    all_there = threading.Barrier(4)
    threads = [threading.Thread(target=all_there.wait) for _ in range(3)]
    for thread in threads:
        thread.start()
    all_there.wait()
    for thread in threads:
        thread.join()


if sys.argv[1] == "threads":
    threads()
else:
    for way in (kinds, committed, over, holes, moved, end_of_data):
        way()  #: way
