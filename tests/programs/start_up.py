import ctypes  #: first line
import sys

libc = ctypes.CDLL(None)
libc.malloc.argtypes = [ctypes.c_size_t]
libc.malloc(1234577)  #: malloc
sys.exit(3)
