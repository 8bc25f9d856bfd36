"""Allocates in threads of every kind and prints, for each size, the name of the thread and its Python stack.

One line of JSON: a list of `[size, name, [[function, file, line], ...]]`, outermost frame first.
"""

import _thread
import concurrent.futures
import ctypes
import json
import sys
import threading

with_gil = ctypes.PyDLL(sys.argv[1])
without_gil = ctypes.CDLL(sys.argv[1])
for library in with_gil, without_gil:
    library.allocate.restype = library.allocate_later.restype = ctypes.c_void_p
    library.allocate.argtypes = library.allocate_later.argtypes = [ctypes.c_size_t]
libc = ctypes.CDLL(None)
CALLBACK = ctypes.CFUNCTYPE(None)
without_gil.in_thread.argtypes = [ctypes.c_char_p, ctypes.c_size_t, CALLBACK, ctypes.c_size_t]

noted = []
sizes = iter(range(1234577, 2000000))
with open("/proc/self/comm") as file:
    process_name = file.read().rstrip("\n")
PR_SET_NAME = 15


def note(size, thread, frame=None):
    """`thread` is a name, or what has one later."""
    stack = []
    while frame:
        code = frame.f_code
        stack.append([getattr(code, "co_qualname", code.co_name), code.co_filename, frame.f_lineno])
        frame = frame.f_back
    noted.append([size, thread, stack[::-1]])
    return size


def allocate(thread):
    size = next(sizes)
    note(size, thread, sys._getframe()), with_gil.allocate(size)
    size = next(sizes)
    note(size, thread, sys._getframe()), without_gil.allocate(size)


def run(thread):
    thread.start()
    thread.join()


renamed = []


def run_and_keep(thread):
    """A name given after the first allocation is read when the thread has ended, from its object."""
    run(thread)
    renamed.append(thread)


class Subclass(threading.Thread):
    def __init__(self, name):
        super().__init__(name=name)

    def run(self):
        allocate(self)


def names():
    body = lambda: allocate(threading.current_thread())
    run(threading.Thread(target=body, name="from the constructor"))
    run(threading.Thread(target=body))
    run(threading.Thread(target=allocate, name="größe 数 🐍", args=["größe 数 🐍"]))
    run(threading.Thread(target=body, name="long " * 60))
    run(Subclass("subclass"))

    before = threading.Thread(target=body)
    before.name = "before start"
    run(before)

    def inside():
        threading.current_thread().name = "inside"
        allocate("inside")

    run_and_keep(threading.Thread(target=inside))

    def after():
        allocate("after the allocation")
        threading.current_thread().name = "after the allocation"

    run_and_keep(threading.Thread(target=after))

    allocated, named = threading.Event(), threading.Event()

    def outside():
        allocate("outside")
        allocated.set()
        named.wait()

    thread = threading.Thread(target=outside)
    thread.start()
    allocated.wait()
    thread.name = "outside"
    named.set()
    thread.join()
    renamed.append(thread)

    def by_prctl():
        libc.prctl(PR_SET_NAME, b"by prctl", 0, 0, 0)
        allocate("by prctl")

    run(threading.Thread(target=by_prctl))

    with concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="pool") as pool:
        pool.submit(allocate, "pool_0").result()


def without_threading():
    done = _thread.allocate_lock()
    done.acquire()

    def raw():
        allocate(process_name)
        done.release()

    _thread.start_new_thread(raw, ())
    done.acquire()


def gil_held_by_another():
    done = []

    def body():
        for _ in range(3):
            size = next(sizes)
            note(size, "released", sys._getframe()), without_gil.allocate_later(size)
        done.append(1)

    thread = threading.Thread(target=body, name="released")
    thread.start()
    while not done:
        pass
    thread.join()


def unknown_to_python():
    def no_callback():
        pass

    before, after = note(next(sizes), "of c"), note(next(sizes), "of c")
    assert without_gil.in_thread(b"of c", before, CALLBACK(0), after) == 0
    before, after = note(next(sizes), process_name), note(next(sizes), process_name)
    assert without_gil.in_thread(None, before, CALLBACK(0), after) == 0


def called_back():
    def innermost():
        allocate("calls back")

    @CALLBACK
    def callback():
        innermost()

    before = note(next(sizes), "calls back")
    size = next(sizes)
    assert without_gil.in_thread(b"calls back", before, callback, size) == 0
    note(size, "calls back")


def main():
    names()
    without_threading()
    gil_held_by_another()
    unknown_to_python()
    called_back()
    allocate("MainThread")


def many(library):
    note(1434577, process_name)
    assert library.in_destructor_of_thread() == 0
    assert library.many_threads(100, 100, ctypes.c_size_t(1444577)) == 0


main()
if len(sys.argv) > 2:
    many(without_gil)
print(json.dumps([[size, getattr(thread, "name", thread), stack] for size, thread, stack in noted]))
