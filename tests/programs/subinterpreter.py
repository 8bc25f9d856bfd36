"""Runs code without end in a sub-interpreter of the main thread, after one line with the thread's identity."""

import sys
import threading

if sys.version_info >= (3, 13):
    import _interpreters as interpreters
else:
    import _xxsubinterpreters as interpreters

CODE = """
def inside():
    while True:
        pass

print("ready", flush=True)
inside()
"""


def outside():
    identity = interpreters.create()
    interpreters.run_string(identity, CODE)


print(threading.get_ident(), flush=True)
outside()
