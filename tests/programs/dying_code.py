"""Makes functions, runs each and throws it away, so that the next takes the memory of the one before. Each allocates a
size of its own, which tells under what name and at what line it must be shown.

    made COUNT       four threads make and run functions of many kinds, then a quarter as many each at one time; prints
                     at how many addresses
    stopped COUNT    the recorder, which is the parent, is made to sleep now and then
    kept COUNT       functions with long names and huge line tables that live on
    served [WHERE]   does what it reads, line by line; code objects end through a library, or `nowhere` in a file
"""

import ctypes
import mmap
import os
import signal
import sys
import threading

libc = ctypes.CDLL(None)
libc.malloc.argtypes = [ctypes.c_size_t]
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]
FIRST_SIZE = 1000001
THREADS = 4
LONG = "n" * 600
# Of which no line table is below 128 KiB.
STATEMENTS = 70000

KINDS = [
    "def name_%(i)d(malloc, free):\n free(malloc(%(size)d))\nmade = name_%(i)d\n",
    "def outer_%(i)d():\n def inner_%(i)d(malloc, free):\n  free(malloc(%(size)d))\n return inner_%(i)d\n"
    "made = outer_%(i)d()\n",
    "made = lambda malloc, free: (\n free(malloc(%(size)d)))\n",
    "def gen_%(i)d(malloc, free):\n yield free(malloc(%(size)d))\nmade = lambda *two, next=next, gen=gen_%(i)d: next(gen(*two))\n",
    "class Class_%(i)d:\n def method_%(i)d(self, malloc, free):\n  free(malloc(%(size)d))\n"
    "made = Class_%(i)d().method_%(i)d\n",
    "def %(long)s_%(i)d(malloc, free):\n free(malloc(%(size)d))\nmade = %(long)s_%(i)d\n",
]
HUGE = "def huge_%(i)d(malloc, free):\n if not malloc:\n%(filling)s free(malloc(%(size)d))\nmade = huge_%(i)d\n"


addresses = set()


def make(number, kind):
    values = {"i": number, "size": FIRST_SIZE + number, "long": LONG}
    if kind is HUGE:
        values["filling"] = "  free = malloc\n" * STATEMENTS
    space = {}
    exec(compile("\n" * (number % 97) + kind % values, "<file %d>" % (number % 1009), "exec"), space)
    made = space["made"]
    # Else it would be part of a circle, and end with the next collection.
    space.clear()
    addresses.add(id(getattr(made, "__code__", None)))
    return made


def make_and_run(number):
    make(number, KINDS[number % len(KINDS)])(libc.malloc, libc.free)


def in_threads(work):
    threads = [threading.Thread(target=work, args=(index,)) for index in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def apart(count):
    def work(index):
        for number in range(index, count, THREADS):
            make_and_run(number)

    in_threads(work)


def together(first, count):
    barrier = threading.Barrier(THREADS)
    shared = [None]

    def work(index):
        for number in range(first, first + count):
            if index == 0:
                shared[0] = make(number, KINDS[number % len(KINDS)])
            barrier.wait()
            shared[0](libc.malloc, libc.free)
            barrier.wait()

    in_threads(work)


def made(count):
    apart(count)
    together(count, count // 4)
    print(len(addresses))


def descend(depth, work):
    if depth:
        return descend(depth - 1, work)
    return work()


def stopped(count):
    # Sizes of records that differ, so that a small one finds room where a large one does not.
    depths = [0, 900, 3, 400]
    recorder = os.getppid()
    for number in range(count):
        if number % 40 == 0:
            os.kill(recorder, signal.SIGSTOP)
        elif number % 40 == 20:
            os.kill(recorder, signal.SIGCONT)
        descend(depths[number // 7 % len(depths)], lambda: make_and_run(number))
    # As long as those before it, and where one of them was, when the recorder looks for their names.
    last = make(count, KINDS[-1])
    os.kill(recorder, signal.SIGCONT)
    for number in range(count + 1, count + 1 + count // 10):
        make_and_run(number)
    last(libc.malloc, libc.free)


def kept(count):
    functions = [make(number, KINDS[-1] if number % 2 else HUGE) for number in range(count)]
    for function in functions:
        function(libc.malloc, libc.free)
    keep.append(functions)


def end_code_objects_through(where):
    """Puts a function before the one that ends code objects, as an extension could."""
    # After the head of a PyVarObject: tp_name, tp_basicsize, tp_itemsize, tp_dealloc (Include/cpython/object.h).
    slot = ctypes.c_void_p.from_address(id(type(make.__code__)) + 48)
    if where != "nowhere":
        ctypes.CDLL(where).install(ctypes.byref(slot))
        return
    memory = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    # mov rax, address; jmp rax
    memory.write(b"\x48\xb8" + slot.value.to_bytes(8, "little") + b"\xff\xe0")
    keep.append(memory)
    slot.value = ctypes.addressof(ctypes.c_char.from_buffer(memory))


def served(*where):
    if where:
        end_code_objects_through(*where)
    print("ready", flush=True)
    for line in sys.stdin:
        do(*line.split())
        print("done", flush=True)


def do(action, *arguments):
    actions = {"made": made, "stopped": stopped, "kept": kept}
    if action == "served":
        served(*arguments)
    else:
        actions[action](int(arguments[0]))


keep = []
do(*sys.argv[1:])
