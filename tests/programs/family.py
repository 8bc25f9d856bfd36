"""A parent and children that live as long as its input: obeys like attached.py.

`fork` makes a child, `allocate` lets the parent and then each child keep a block. At the end of the input the children
end with status 3, and the parent says so.
"""

import ctypes
import os
import sys

malloc = ctypes.CDLL(None).malloc
malloc.argtypes, malloc.restype = [ctypes.c_size_t], ctypes.c_void_p
children = []


def fork():
    requests, answers = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(requests[1])
        for other, *pipes in children:
            for end in pipes:
                os.close(end)
        while os.read(requests[0], 1):
            malloc(1234781)  #: child
            os.write(answers[1], b"x")
        os._exit(3)
    os.close(requests[0])
    os.close(answers[1])
    children.append((pid, requests[1], answers[0]))


def allocate():
    malloc(1234783)  #: parent
    for _, requests, answers in children:
        os.write(requests, b"x")
        os.read(answers, 1)


print("ready", flush=True)
for line in sys.stdin:
    {"fork": fork, "allocate": allocate}[line.strip()]()  #: obey
    print("done", flush=True)
for pid, requests, _ in children:
    os.close(requests)
    print("child ended with", os.waitpid(pid, 0)[1] >> 8, flush=True)
