"""Lets the live bytes rise and fall in steps that the tests know."""

import ctypes
import sys

libc = ctypes.PyDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes = [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
native = ctypes.PyDLL(sys.argv[2])
native.pairs.argtypes = native.nested.argtypes = [ctypes.c_int, ctypes.c_size_t]
native.freed_elsewhere.argtypes = [ctypes.c_size_t]
MIB = 1 << 20


def take(size):
    return libc.malloc(size)  #: malloc


def equal():
    """Two equal peaks: of the first nothing must be shown."""
    block = take(200 * MIB)  #: first
    libc.free(block)
    block = take(200 * MIB)  #: last
    libc.free(block)


def highest_in_the_middle():
    low = take(30 * MIB)  #: low
    high = take(300 * MIB)  #: high
    libc.free(high)
    libc.free(low)
    take(200 * MIB)  #: later


def two_lines():
    take(100 * MIB)  #: line one
    take(200 * MIB)  #: line two


def loop():
    for _ in range(5):
        take(60 * MIB)  #: loop


def recursive(depth=10):
    """The block of each level is freed before the last level of all is reached, every second one kept."""
    if not depth:
        return
    block = take(depth * 10 * MIB)  #: level
    recursive(depth - 1)  #: deeper
    if depth % 2:
        libc.free(block)


def temporary():
    native.pairs(7, 1234577)  #: pairs
    native.nested(5, 1234579)  #: nested
    assert native.freed_elsewhere(1234581) == 0  #: elsewhere
    native.pairs(1, 1234583)  #: one pair


def leaks():
    blocks = [take(size) for size in (1234585, 1234587, 1234589)]  #: three
    libc.free(blocks[0])
    libc.free(blocks[2])
    for _ in range(10):
        take(1234591)  #: ten


# What the interpreter allocates at the first call of a function would count with it.
for _ in range(100):
    libc.free(take(1))
globals()[sys.argv[1]]()  #: start
