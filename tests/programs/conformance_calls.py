"""Calls allocator functions in every way that a program has of calling one: from compiled modules, C++, the interpreter,
through pointers that the dynamic loader has found, and from a library that is loaded late.

Arguments: the folders of our extension module and of cffi, the library of C++.
"""

import ctypes
import mmap
import sys

sys.path[:0] = sys.argv[1:3]

import cffi
import conformance



def each_function():
    functions = "malloc", "calloc", "realloc", "reallocarray", "posix_memalign", "aligned_alloc", "memalign", "valloc", "pvalloc"
    for name in functions:
        conformance.free(conformance.allocate(name, 984))  #: free
    conformance.allocate("valloc", 984)  #: keep


def sized_frees():
    """They came with glibc 2.43."""
    found = [
        conformance.free_by("free_sized", conformance.allocate("malloc", 991), 991),  #: free_sized
        conformance.free_by("free_aligned_sized", conformance.allocate("aligned_alloc", 992), 992),  #: free_aligned_sized
    ]
    print(*found)


def realloc_to_nothing():
    """glibc frees the block, and returns no other."""
    for _ in range(3):
        block = conformance.allocate("malloc", 1003)  #: before
        assert not conformance.realloc(block, 0)
    assert conformance.realloc(conformance.allocate("malloc", 1005), 1007)  #: grown


def found_by_dlsym():
    conformance.allocate("by dlsym", 1009)  #: by dlsym


def through_ctypes():
    for name, size in ("malloc", 1013), ("valloc", 1015):
        function = getattr(ctypes.CDLL(None), name)
        function.argtypes, function.restype = [ctypes.c_size_t], ctypes.c_void_p
        function(size)  #: ctypes


def through_cffi():
    """In ABI mode, in which nothing is compiled."""
    interface = cffi.FFI()
    interface.cdef("void *malloc(size_t); void *valloc(size_t); void free(void *);")
    library = interface.dlopen(None)
    library.free(library.malloc(1017))  #: cffi malloc
    library.valloc(1019)  #: cffi valloc


def vectors_of_a_library_loaded_late():
    fill = ctypes.CDLL(sys.argv[3]).fill_vectors
    fill(1, 253)  #: one
    fill(10, 512)  #: ten


def domains_of_python():
    """What is small never leaves pymalloc, but in the raw domain; what is large does."""
    for domain in "PyMem_Raw", "PyMem_", "PyObject_":
        malloc, calloc, realloc = (getattr(ctypes.pythonapi, domain + name) for name in ("Malloc", "Calloc", "Realloc"))
        malloc.restype = calloc.restype = realloc.restype = ctypes.c_void_p
        malloc.argtypes = [ctypes.c_size_t]
        calloc.argtypes = [ctypes.c_size_t] * 2
        realloc.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
        malloc(1023), calloc(3, 341), realloc(None, 1023)  #: large
        malloc(423), calloc(3, 141), realloc(None, 423)  #: small


def mapped_by_the_module():
    mmap.mmap(-1, 2047).close()  #: mmap


each_function()  #: run
sized_frees()  #: run
realloc_to_nothing()  #: run
found_by_dlsym()  #: run
through_ctypes()  #: run
through_cffi()  #: run
vectors_of_a_library_loaded_late()  #: run
domains_of_python()  #: run
mapped_by_the_module()  #: run
