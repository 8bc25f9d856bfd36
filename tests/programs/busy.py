"""Allocates without pause in four threads, two of them in C without the GIL, until its input ends; then says how often.

The first argument is a library made of native.c.
"""

import ctypes
import sys
import threading

pairs = ctypes.CDLL(sys.argv[1]).pairs
pairs.argtypes = [ctypes.c_int, ctypes.c_size_t]
is_over = False
rounds = []


def in_c():
    count = 0
    while not is_over:
        pairs(10, 1234671)  #: in C
        count += 1
    rounds.append(count)


def in_python():
    count = 0
    while not is_over:
        bytes(1234673)  #: in Python
        count += 1
    rounds.append(count)


threads = [threading.Thread(target=target) for target in (in_c, in_python, in_c, in_python)]
for thread in threads:
    thread.start()
print("ready", flush=True)
sys.stdin.read()
is_over = True
for thread in threads:
    thread.join()
print("end", all(count > 100 for count in rounds), flush=True)
