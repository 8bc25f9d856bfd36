"""Allocates a block of the size of its first argument, and ends with the status of its second."""

import ctypes
import sys

malloc = ctypes.CDLL(None).malloc
malloc.argtypes = [ctypes.c_size_t]
malloc(int(sys.argv[1]))  #: child
print("child of", sys.argv[1:], flush=True)
sys.exit(int(sys.argv[2]))
