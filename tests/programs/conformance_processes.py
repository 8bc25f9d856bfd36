"""A pool of children, or an end by SIGKILL. Arguments: the folder of our extension module, and which of them."""

import multiprocessing
import os
import signal
import sys

sys.path.insert(0, sys.argv[1])

import conformance


def work(count):
    for _ in range(count):
        conformance.free(conformance.allocate("valloc", 1234))  #: in the pool
    return count


def pool():
    with multiprocessing.get_context("fork").Pool(3) as children:
        print(sum(children.map(work, [1, 10, 100, 1000, 2000, 3000, 4000, 5000])))
        children.close()
        children.join()
    conformance.allocate("valloc", 1234)  #: in the parent


def kill():
    for _ in range(3):
        conformance.allocate("valloc", 1024)  #: before the end
    os.kill(os.getpid(), signal.SIGKILL)


def header():
    for _ in range(100):
        conformance.allocate("valloc", 1024)  #: hundred


if __name__ == "__main__":
    globals()[sys.argv[2]]()  #: start
