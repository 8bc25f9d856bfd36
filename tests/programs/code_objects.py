"""Makes functions, each of another name, file and first line, and throws them away, so that the next takes the
memory of the one before. Each allocates a size of its own."""

import ctypes
import gc

libc = ctypes.CDLL(None)
libc.malloc.argtypes = [ctypes.c_size_t]
libc.malloc.restype = ctypes.c_void_p
COUNT = 500
FIRST_SIZE = 2000001
addresses = set()


def make_and_run(number):
    source = "\n" * (number % 97) + "def name_%d(malloc):\n    malloc(%d)\n" % (number, FIRST_SIZE + number)
    space = {}
    exec(compile(source, "<file %d>" % (number % 89), "exec"), space)
    function = space.pop("name_%d" % number)
    addresses.add(id(function.__code__))
    function(libc.malloc)


for number in range(COUNT):
    make_and_run(number)
    if number % 50 == 0:
        gc.collect()
print(len(addresses))
