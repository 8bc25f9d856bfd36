"""Loads a library when it is told to, and allocates through it and through the C library; obeys like attached.py."""

import ctypes
import sys


def typed(library, name, result, *arguments):
    function = getattr(library, name)
    function.restype, function.argtypes = result, arguments
    return function


def load():
    global library
    # Only this library's functions, not those of the same name that came before.
    library = ctypes.PyDLL(sys.argv[1], mode=ctypes.RTLD_LOCAL)


def allocate():
    libc = ctypes.PyDLL(None)
    malloc = typed(library, "malloc", ctypes.c_void_p, ctypes.c_size_t)
    free = typed(library, "free", None, ctypes.c_void_p)
    kept.append(malloc(1234631))  #: bundled
    kept.append(typed(libc, "malloc", ctypes.c_void_p, ctypes.c_size_t)(1234633))  #: libc
    free(malloc(1234635))  #: bundled freed


def extension():
    kept.append(typed(library, "allocate", ctypes.c_void_p, ctypes.c_size_t)(1234637))  #: extension


kept = []
actions = {"load": load, "allocate": allocate, "extension": extension}
print("ready", flush=True)
for line in sys.stdin:
    actions[line.strip()]()  #: obey
    print("done", flush=True)
