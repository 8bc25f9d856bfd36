"""Waits in a way in which it cannot be asked to do anything, until it is woken; then allocates and ends with status 7.

    waiting.py asleep | locked | looping LIBRARY     (the library is waiting.c)
"""

import ctypes
import signal
import sys
import threading
import time

libc = ctypes.CDLL(None)
malloc = libc.malloc
malloc.argtypes, malloc.restype = [ctypes.c_size_t], ctypes.c_void_p


def leave(*_):
    malloc(1234611)  #: woken
    print("woken", flush=True)
    sys.exit(7)


def asleep():
    """Until a signal comes."""
    signal.signal(signal.SIGUSR1, leave)
    print("ready", flush=True)
    while True:
        time.sleep(1000)  #: asleep


def locked():
    """In the acquisition of a lock that a thread releases when it has read a line."""
    lock = threading.Lock()
    lock.acquire()

    def release():
        sys.stdin.readline()
        lock.release()

    threading.Thread(target=release).start()
    print("ready", flush=True)
    lock.acquire()
    leave()  #: locked


def looping():
    """In C, with the GIL held, until there is a line to read."""
    library = ctypes.PyDLL(sys.argv[2])
    library.loop_until_input.argtypes = [ctypes.c_size_t]
    print("ready", flush=True)
    library.loop_until_input(1234613)  #: looping
    leave()  #: looped


{"asleep": asleep, "locked": locked, "looping": looping}[sys.argv[1]]()  #: start
