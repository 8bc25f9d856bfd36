"""Memory by ways that only one of the two profilers sees, or that they count differently.

Each line does one thing, with an amount that nothing else in the program uses; its marker names the rule that explains
what comes out. `PARITY_LIBRARY` is the library of `parity_other_ways.c`.
"""

import ctypes
import gc
import mmap
import os
import tempfile
import threading

# The C library as any program has it, by pointers from `dlsym`.
pointers = ctypes.CDLL(None)
pointers.malloc.restype = pointers.realloc.restype = ctypes.c_void_p
pointers.malloc.argtypes = [ctypes.c_size_t]
pointers.realloc.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
pointers.free.argtypes = [ctypes.c_void_p]
PRIVATE = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS


def by_pointers():
    kept = pointers.malloc(3_000_017)  #: Calls by other ways
    moved = pointers.malloc(1_000_033)  #: Calls by other ways
    moved = pointers.realloc(moved, 2_000_039)  #: Calls by other ways
    pointers.free(moved)
    return kept


def by_library():
    library = ctypes.CDLL(os.environ["PARITY_LIBRARY"])  #: The dynamic loader
    library.empty()  #: `realloc(p, 0)` as a free
    library.map_over()  #: Mappings over mappings
    library.map_raw()  #: Calls by other ways


def by_maps():
    part = mmap.mmap(-1, 5_000_011)  #: Whole pages
    reserved = mmap.mmap(-1, 33 << 20, PRIVATE, prot=0)  #: Files and reservations
    with tempfile.TemporaryFile() as file:
        file.truncate(9 << 20)
        shown = mmap.mmap(file.fileno(), 9 << 20)  #: Files and reservations
        private = mmap.mmap(file.fileno(), 7 << 20, mmap.MAP_PRIVATE)  #: Files and reservations
    grown = mmap.mmap(-1, 3 << 20, PRIVATE)  #: Growth by `mremap`
    grown.resize(21 << 20)  #: Growth by `mremap`
    return part, reserved, shown, private, grown


def by_threads():
    blocks = []
    for index in range(3):
        thread = threading.Thread(target=lambda size: blocks.append(bytes(size)), args=[400_009 + index])
        thread.start()
        thread.join()
    return blocks


def main():
    kept = by_pointers(), by_library(), by_maps(), by_threads()
    blocks = [bytearray(100_003 + index) for index in range(100)]
    print(len(kept), len(b"".join(blocks)))
    return kept


kept = main()
gc.collect()
bytearray(1017)  #: end
