"""Has children, threads and other programs come and go, and lives on: obeys each line that it reads."""

import ctypes
import os
import subprocess
import sys
import threading

malloc = ctypes.PyDLL(None).malloc
malloc.argtypes, malloc.restype = [ctypes.c_size_t], ctypes.c_void_p


def children(count):
    for _ in range(count):
        pid = os.fork()
        if pid == 0:
            # Code of its own, so that there is something to remember of each child.
            exec("malloc(1434571)\n")
            os._exit(0)
        os.waitpid(pid, 0)


def programs(count):
    for _ in range(count):
        subprocess.run([sys.executable, "-I", "-S", "-c", "pass"], check=True)


def threads(count):
    for _ in range(count):
        thread = threading.Thread(target=malloc, args=(1434573,))
        thread.start()
        thread.join()


print("ready", flush=True)
for line in sys.stdin:
    name, count = line.split()
    globals()[name](int(count))
    print("done", flush=True)
