"""Is attached to while its threads are deep in calls: obeys each line that it reads, and answers with `done`.

Sizes are those that nothing else allocates.
"""

import ctypes
import mmap
import os
import queue
import signal
import sys
import threading

libc = ctypes.CDLL(None)
malloc, realloc, free = libc.malloc, libc.realloc, libc.free
malloc.argtypes, malloc.restype = [ctypes.c_size_t], ctypes.c_void_p
realloc.argtypes, realloc.restype = [ctypes.c_void_p, ctypes.c_size_t], ctypes.c_void_p
free.argtypes, free.restype = [ctypes.c_void_p], None

TOO_MUCH = 2**62
answers = queue.SimpleQueue()


def descend(depth, work):
    if depth:
        descend(depth - 1, work)  #: deeper
    else:
        work()  #: bottom


class Worker:
    def __init__(self, name, depth):
        self.requests = queue.SimpleQueue()
        thread = threading.Thread(target=descend, args=(depth, self.serve), name=name, daemon=True)
        thread.start()
        self.obey(int)

    def serve(self):
        while True:
            self.requests.get()()  #: request
            answers.put(None)

    def obey(self, request):
        self.requests.put(request)
        answers.get()


def generate(size):
    malloc(size)  #: in a generator
    yield


def allocate():
    malloc(1234577)  #: by main
    workers[0].obey(lambda: malloc(1234579))  #: by the first
    workers[1].obey(lambda: next(started))  #: by the second
    workers[0].obey(lambda: malloc(1234581))  #: by the first again
    free(malloc(1234583))  #: freed


def free_before():
    for block in before:
        free(block)
    grown = realloc(moved, 1234591)  #: moved
    assert realloc(unmoved, TOO_MUCH) is None
    free(unmoved)
    free(grown)
    pages.close()
    large_pages.resize(907 * 4096)  #: resized
    large_pages.close()


def leak():
    for _ in range(10):
        malloc(1234593)  #: ten
    malloc(1234595)  #: one


def temporary():
    for _ in range(7):
        free(malloc(1234597))  #: pairs


def crash():
    malloc(1234601)  #: crash
    signal.signal(signal.SIGSEGV, signal.SIG_DFL)
    ctypes.string_at(8)


def leave():
    malloc(1234603)  #: leave
    print("left", flush=True)
    sys.exit(7)


def kill():
    malloc(1234605)  #: kill
    os.kill(os.getpid(), signal.SIGKILL)


def obey():
    print("ready", flush=True)
    for line in sys.stdin:
        actions[line.strip()]()  #: obey
        print("done", flush=True)
    print("end", flush=True)


actions = {
    "allocate": allocate,
    "free": free_before,
    "leak": leak,
    "temporary": temporary,
    "crash": crash,
    "leave": leave,
    "kill": kill,
}
before = [malloc(1234500 + number) for number in range(20)]
moved, unmoved = malloc(1234551), malloc(1234553)
pages, large_pages = (mmap.mmap(-1, count * 4096, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) for count in (401, 809))
workers = [Worker("first worker", 5), Worker("second worker", 60)]
# A generator that began in another thread than it goes on in.
started = (item for size in (1234585, 1234587) for item in generate(size))  #: started
next(started)
descend(200, obey)  #: start
