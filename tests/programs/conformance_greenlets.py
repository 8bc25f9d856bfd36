"""Allocates in greenlets, which switch stacks by hand. Arguments: the folders of our extension module and of greenlet.

Prints for each size the stack as CPython itself sees it.
"""

import json
import sys
import threading

sys.path[:0] = sys.argv[1:3]

import conformance
import greenlet

noted = []


def allocate(size):
    stack, frame = [], sys._getframe(1)
    while frame:
        stack.append(frame.f_code.co_name)
        frame = frame.f_back
    noted.append([size, stack[::-1]])
    conformance.allocate("valloc", size)  #: valloc


def apple():
    banana()  #: banana


def banana():
    allocate(10241)  #: first
    others["ant"].switch()  #: to ant
    allocate(10243)  #: third
    others["ant"].switch()  #: to ant again


def ant():
    allocate(10242)  #: second
    others["apple"].switch()  #: to apple
    allocate(10244)  #: fourth
    bat()  #: bat
    allocate(10246)  #: sixth


def bat():
    allocate(10245)  #: fifth


def deep(depth):
    """Switches away from the middle of many frames, and comes back to them."""
    if depth:
        deep(depth - 1)  #: deeper
    else:
        allocate(10248)  #: deep
        greenlet.getcurrent().parent.switch()  #: out
        allocate(10250)  #: deep again


def ends_while_another_is_suspended():
    suspended = greenlet.greenlet(deep)
    suspended.switch(30)  #: in
    allocate(10249)  #: between
    suspended.switch()  #: in again
    allocate(10251)  #: end


def from_a_callback():
    """C code is between: `sorted` calls what switches."""
    other = greenlet.greenlet(lambda: allocate(10253))  #: other
    sorted([1], key=lambda _: (allocate(10252), other.switch(), allocate(10254)))  #: key


def in_a_thread():
    worker = greenlet.greenlet(lambda: allocate(10255))  #: worker
    worker.switch()  #: to worker
    allocate(10256)  #: thread


def test():
    others["apple"], others["ant"] = greenlet.greenlet(apple), greenlet.greenlet(ant)
    others["apple"].switch()  #: start
    allocate(10247)  #: last
    ends_while_another_is_suspended()  #: ends
    from_a_callback()  #: callback
    thread = threading.Thread(target=in_a_thread, name="green")
    thread.start()
    thread.join()


others = {}
test()  #: test
print(json.dumps(noted))
