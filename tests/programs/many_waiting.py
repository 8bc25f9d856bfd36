"""Four hundred threads that wait from before it is attached to; each keeps a block when its turn comes, and lives on."""

import ctypes
import sys
import threading

malloc = ctypes.CDLL(None).malloc
malloc.argtypes, malloc.restype = [ctypes.c_size_t], ctypes.c_void_p
end = threading.Event()
turns = [threading.Semaphore(0) for _ in range(401)]


def wait(number):
    turns[number].acquire()
    malloc(1234661)  #: turn
    turns[number + 1].release()
    end.wait()


threads = [threading.Thread(target=wait, args=(number,), name="thread %d" % number) for number in range(400)]
for thread in threads:
    thread.start()
print("ready", flush=True)
sys.stdin.readline()
turns[0].release()
turns[400].acquire()
print("done", flush=True)
sys.stdin.read()
end.set()
