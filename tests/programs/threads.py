"""Starts threads that got their names in every way there is, and says what a reader from outside must find.

One line of JSON per thread on standard output: its identity (the value of pthread_self), the address of its
`threading.Thread` or null, its name or null where `threading` did not start it, the function that calls the one it
is in, or null where that depends, and whether it holds the GIL.
Then `ready`; the threads wait in `blocked`, the main thread runs in `spin`.
"""

import _thread
import ctypes
import json
import os
import sys
import threading

reader, writer = os.pipe()
expected = []
lock = threading.Lock()
started = threading.Semaphore(0)
keep_alive = []


def expect(ident, thread=None, caller=None, holds_gil=False):
    has_qualified_names = sys.version_info >= (3, 11)
    item = {"ident": ident, "self": thread and id(thread), "name": thread and thread.name, "holds_gil": holds_gil}
    item["caller"] = caller and (caller.__qualname__ if has_qualified_names else caller.__name__)
    expected.append(item)


def blocked():
    started.release()
    os.read(reader, 1)


def spin():
    while True:
        pass


def body():
    blocked()


class OwnAttributes(threading.Thread):
    def __init__(self, name):
        self.before = "before"
        super().__init__(name=name)
        self.after = ["after"]
        self.other_name = "not this"

    def run(self):
        blocked()


class Mixin:
    kind = "mixin"


class Mixed(Mixin, OwnAttributes):
    pass


class Slots(threading.Thread):
    __slots__ = ("one", "two")


class Text(str):
    pass


class NoThread:
    def __init__(self):
        self._name = "impostor"


class Thread:
    """Called like the real one, but without its attributes."""


def start(thread, name=None):
    thread.daemon = True
    thread.start()
    started.acquire()
    if name is not None:
        thread.name = name
    expect(thread.ident, thread)
    return thread


def start_raw(argument):
    def first_local(self):
        blocked()

    ident = _thread.start_new_thread(first_local, (argument,))
    started.acquire()
    expect(ident, caller=first_local)


def start_foreign():
    """A thread that C code has made, which Python meets when it calls back."""
    idents = []

    @ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)
    def callback(argument):
        idents.append(threading.get_ident())
        called_back()

    def called_back():
        blocked()

    thread = ctypes.c_ulong()
    error = ctypes.CDLL(None).pthread_create(ctypes.byref(thread), None, callback, None)
    if error:
        raise OSError(error, "pthread_create")
    started.acquire()
    keep_alive.append(callback)
    expect(idents[0], caller=called_back)


def crowded(count):
    thread = threading.Thread(target=body, name="crowded-%d" % count)
    for number in range(count):
        setattr(thread, "attribute_%d" % number, number)
    return thread


def threads():
    yield threading.Thread(target=body), None
    yield threading.Thread(target=body, name="from the constructor"), None

    before = threading.Thread(target=body)
    before.name = "before start"
    yield before, None

    yield threading.Thread(target=body), "after start"
    yield OwnAttributes("subclass"), None
    yield Mixed("mixed"), None
    yield Slots(target=body, name="slots"), None
    yield threading.Timer(0, blocked), "timer"
    yield threading.Thread(target=body, name="größe"), None
    yield threading.Thread(target=body, name="名前"), None
    yield threading.Thread(target=body, name="schlange 🐍"), None
    yield threading.Thread(target=body, name="long " * 300), None
    yield threading.Thread(target=body, name="line\nbreak\x00"), None

    for count in (5, 40, 300, 3000):
        yield crowded(count), None

    seen = threading.Thread(target=body, name="dictionary was looked at")
    vars(seen)["added"] = 1
    yield seen, None

    replaced = threading.Thread(target=body, name="dictionary was replaced")
    replaced.__dict__ = dict(replaced.__dict__)
    yield replaced, None

    mixed_keys = OwnAttributes("keys of all types")
    mixed_keys.__dict__[5] = mixed_keys.__dict__[None] = "no name"
    yield mixed_keys, None

    deleted = threading.Thread(target=body, name="deleted")
    deleted.extra = 1
    del deleted.extra
    deleted._name = deleted._name + " and set again"
    yield deleted, None

    own_str = threading.Thread(target=body)
    own_str._name = Text("instance of a subclass of str")
    yield own_str, None

    # Last of all: the keys that the class shares have been given up by now.
    yield threading.Thread(target=body, name="the last one"), None


def main():
    for thread, name in threads():
        start(thread, name)
    for argument in (None, 12, "text", NoThread(), Thread(), Thread, threading.Thread, sys, [1], body):
        start_raw(argument)
    start_foreign()
    expect(threading.get_ident(), caller=main, holds_gil=True)
    for item in expected:
        print(json.dumps(item))
    print("ready", flush=True)
    spin()


main()
