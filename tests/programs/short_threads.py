"""Ten thousand threads that Python does not know, a hundred at a time, each with one block; the library is native.c."""

import ctypes
import sys

many_threads = ctypes.CDLL(sys.argv[1]).many_threads
many_threads.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_size_t]
for _ in range(100):
    assert many_threads(100, 1, 1444577) == 0
