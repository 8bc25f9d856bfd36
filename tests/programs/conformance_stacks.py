"""Allocates in stacks that are hard to tell from outside, from lines that the tests know. Argument: the folder of our
extension module.

Each block comes from `valloc`, which nothing else calls.
"""

import sys
import threading

sys.path.insert(0, sys.argv[1])

import conformance

if sys.version_info >= (3, 13):
    import _interpreters as interpreters
else:
    import _xxsubinterpreters as interpreters


# Lines are counted from the first one.
INSIDE = """
import threading

def inside():
    def deeper():
        kept.append(bytes(1234577))

    deeper()

kept = []
inside()
thread = threading.Thread(target=inside, name="inside")
thread.start()
thread.join()
kept.append(bytes(1234579))
"""


def allocate(size):
    conformance.allocate("valloc", size)  #: valloc


def three_functions():
    def first():
        second()  #: first

    def second():
        third()  #: second

    def third():
        allocate(2001)  #: third

    first()  #: three


def adjacent_lines():
    conformance.map(3 * 4096)  #: line one
    conformance.map(3 * 4096)  #: line two


def deep(depth):
    if depth:
        deep(depth - 1)  #: deeper
    else:
        allocate(2003)  #: deepest


def deep_and_back():
    deep(20)  #: deep
    allocate(2005)  #: back


def no_profile_hook():
    """With one, and after it was taken away."""
    sys.setprofile(lambda *_: None)
    allocate(2007)  #: profiled
    sys.setprofile(None)
    allocate(2009)  #: no longer profiled
    threading.setprofile(None)
    thread = threading.Thread(target=lambda: (sys.setprofile(None), allocate(2011)), name="not profiled")  #: thread
    thread.start()
    thread.join()


def python_and_c_in_turn(depth=4):
    if depth:
        conformance.call(python_and_c_in_turn, depth - 1)  #: turn
    else:
        allocate(2013)  #: last turn


def without_the_gil():
    conformance.allocate_without_gil(2015)  #: without the gil


def from_a_foreign_thread():
    """Nothing of the first call is in the stack of what comes after it."""

    def called_first():
        inner()  #: first call

    def inner():
        allocate(2017)  #: inner

    def called_next():
        allocate(2021)  #: next call

    assert conformance.visit_from_new_thread(called_first, 2019, called_next)


def generators_and_lines():
    def numbers():
        allocate(2023)  #: generator
        yield 1

    for _ in numbers():  #: generator item
        pass
    print(
        allocate(2025),  #: first argument
        allocate(2027),  #: second argument
    )


def in_a_subinterpreter():
    """Extension modules may be refused there, so a block of `bytes` must do: 33 bytes more, by calloc."""
    # From 3.9 to 3.11 one that is isolated may have no threads.
    may_have_threads = {"isolated": False} if (3, 9) <= sys.version_info < (3, 12) else {}
    identity = interpreters.create(**may_have_threads)
    interpreters.run_string(identity, INSIDE)
    allocate(2029)  #: after its end
    interpreters.run_string(identity, "kept = bytes(1234599)")
    interpreters.destroy(identity)
    allocate(2031)  #: after it is gone


def main():
    three_functions()  #: run
    adjacent_lines()  #: run
    deep_and_back()  #: run
    no_profile_hook()  #: run
    python_and_c_in_turn()  #: run
    without_the_gil()  #: run
    from_a_foreign_thread()  #: run
    generators_and_lines()  #: run
    in_a_subinterpreter()  #: run


main()  #: main
