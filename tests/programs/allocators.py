"""Calls each function of the C library that hands out or takes back memory, from lines that the tests know."""

import ctypes
import sys

keeps_gil = sys.argv[1] == "keeps_gil"
libc = (ctypes.PyDLL if keeps_gil else ctypes.CDLL)(None)


def function(name, result, *arguments):
    found = getattr(libc, name)
    found.restype = result
    found.argtypes = arguments
    return found


pointer, size = ctypes.c_void_p, ctypes.c_size_t
malloc = function("malloc", pointer, size)
calloc = function("calloc", pointer, size, size)
realloc = function("realloc", pointer, pointer, size)
reallocarray = function("reallocarray", pointer, pointer, size, size)
free = function("free", None, pointer)
posix_memalign = function("posix_memalign", ctypes.c_int, ctypes.POINTER(pointer), size, size)
aligned_alloc = function("aligned_alloc", pointer, size, size)
memalign = function("memalign", pointer, size, size)
valloc = function("valloc", pointer, size)
# musl has none.
pvalloc = function("pvalloc", pointer, size) if hasattr(libc, "pvalloc") else valloc
strdup = function("strdup", pointer, ctypes.c_char_p)

TOO_MUCH = 2**62


def simple():
    free(malloc(1234501))  #: malloc
    free(calloc(3, 411503))  #: calloc
    free(valloc(1234511))  #: valloc
    free(pvalloc(1234513))  #: pvalloc
    malloc(1234517)  #: malloc kept
    calloc(1, 1234519)  #: calloc kept
    strdup(b"x" * 7234522)  #: strdup
    for _ in range(3):
        malloc(1234523)  #: three times
    free(None)


def aligned():
    free(aligned_alloc(64, 1234560))  #: aligned_alloc
    free(memalign(128, 1234551))  #: memalign
    block = pointer()
    assert posix_memalign(ctypes.byref(block), 64, 1234531) == 0  #: posix_memalign
    free(block)
    assert posix_memalign(ctypes.byref(block), 4096, 1234537) == 0  #: posix_memalign kept


def moved():
    block = realloc(None, 1234601)  #: realloc of nothing
    block = realloc(block, 5234603)  #: grown
    block = realloc(block, 1234605)  #: shrunk
    block = reallocarray(block, 7, 300001)  #: array
    free(block)
    reallocarray(None, 5, 246901)  #: array of nothing


def to_nothing():
    block = malloc(1234611)  #: before zero
    # glibc frees it, musl makes it as small as can be.
    free(realloc(block, 0))  #: zero
    block = malloc(1234613)  #: before array of zero
    free(reallocarray(block, 0, 100))  #: array of zero
    return malloc(0)  #: malloc of zero


def failing():
    assert malloc(TOO_MUCH) is None
    assert calloc(2**33, 2**33) is None
    assert calloc(TOO_MUCH, 1) is None
    assert realloc(None, TOO_MUCH) is None
    assert reallocarray(None, 2**33, 2**33) is None
    assert valloc(TOO_MUCH) is None
    assert pvalloc(TOO_MUCH) is None
    assert memalign(64, TOO_MUCH) is None
    assert aligned_alloc(64, TOO_MUCH) is None
    block = pointer()
    assert posix_memalign(ctypes.byref(block), 3, 1234621) != 0
    assert posix_memalign(ctypes.byref(block), 64, TOO_MUCH) != 0


def failing_keeps():
    block = malloc(1234623)  #: survivor
    assert realloc(block, TOO_MUCH) is None
    assert reallocarray(block, 2**33, 2**33) is None
    block = malloc(1234625)  #: survivor that is freed
    assert realloc(block, TOO_MUCH) is None
    free(block)
    block = malloc(1234627)  #: survivor that grows
    assert realloc(block, TOO_MUCH) is None
    realloc(block, 5234629)  #: grown survivor


def address(found):
    return ctypes.cast(found, pointer).value


simple()  #: simple
aligned()  #: aligned
moved()  #: moved
to_nothing()  #: to_nothing
failing()  #: failing
failing_keeps()  #: failing_keeps
print("one" if address(memalign) == address(aligned_alloc) else "two")
