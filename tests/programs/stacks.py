"""Allocates in every kind of frame and prints, for each size, the stack as CPython itself sees it.

One line of JSON: a list of `[size, [[function, file, line], ...]]`, outermost frame first.
"""

import asyncio
import contextlib
import ctypes
import functools
import json
import sys

libc = ctypes.CDLL(None)
malloc = libc.malloc
malloc.argtypes, malloc.restype = [ctypes.c_size_t], ctypes.c_void_p

noted = []
# Of names and tables that are longer than what the kernel sends of one, the rest is read from our memory a moment
# later: the code object must still be there.
kept = []
next_size = 1234577


def note(size, frame):
    stack = []
    while frame:
        code = frame.f_code
        stack.append([getattr(code, "co_qualname", code.co_name), code.co_filename, frame.f_lineno])
        frame = frame.f_back
    noted.append([size, stack[::-1]])


def allocate():
    global next_size
    next_size += 1
    note(next_size, sys._getframe()), malloc(next_size)


def recursive(depth):
    if depth:
        recursive(depth - 1)
    else:
        allocate()
    return depth


def generators():
    def inner():
        yield allocate()

    def outer():
        yield from inner()
        yield allocate()

    list(outer())
    next(allocate() for _ in range(1))
    suspended = outer()
    next(suspended)

    def elsewhere():
        next(suspended)

    elsewhere()


async def leaf():
    allocate()
    await asyncio.sleep(0)
    allocate()


async def middle():
    await leaf()
    async for _ in numbers():
        allocate()
    async with manager():
        allocate()


async def numbers():
    allocate()
    yield 1


@contextlib.asynccontextmanager
async def manager():
    allocate()
    yield
    allocate()


async def tasks():
    await asyncio.gather(middle(), leaf())
    await asyncio.get_running_loop().run_in_executor(None, int)


def comprehensions():
    [allocate() for _ in range(2)]
    {allocate(): number for number in range(1)}
    {number: [allocate() for _ in range(1)] for number in range(1)}
    {allocate() for _ in range(1)}
    list(allocate() for _ in range(1))
    [[allocate() for _ in range(1)] for _ in range(1)]
    return lambda: [allocate() for _ in range(1)]


def through_c():
    sorted([2, 1], key=lambda number: allocate() or number)
    list(map(lambda _: allocate(), [1]))
    functools.reduce(lambda left, right: allocate(), [1, 2])
    max([1], key=functools.partial(lambda _, number: allocate() or number, None))
    json.dumps({"a": object()}, default=lambda _: allocate())
    json.loads("{}", object_hook=lambda _: allocate())


def decorator(function):
    allocate()

    @functools.wraps(function)
    def wrapper(*arguments):
        allocate()
        return function(*arguments)

    return wrapper


class Meta(type):
    def __new__(cls, *arguments):
        allocate()
        return super().__new__(cls, *arguments)

    def __call__(cls):
        allocate()
        return super().__call__()


class Outer(metaclass=Meta):
    allocate()

    class Inner:
        def __init__(self):
            allocate()

        def __del__(self):
            allocate()

        def __enter__(self):
            allocate()

        def __exit__(self, *_):
            allocate()

        def __getattr__(self, name):
            allocate()

        @property
        def attribute(self):
            allocate()

        @staticmethod
        @decorator
        def decorated():
            allocate()

    def __init__(self):
        super().__init__()
        self.inner = self.Inner()


def classes():
    outer = Outer()
    with outer.inner as _:
        allocate()
    outer.inner.attribute
    outer.inner.missing
    outer.inner.decorated()
    del outer


def exceptions():
    try:
        try:
            raise ValueError
        except ValueError:
            allocate()
            raise KeyError from None
        finally:
            allocate()
    except KeyError:
        allocate()


def lines():
    print(
        1,
        allocate(),
        *(
            2,
            allocate(),
        ),
        file=(
            allocate()
            or sys.stderr
        ) if True else None,
    )
    text = "a" + \
        str(allocate())
    text = (text
            .replace("a", str(allocate()))
            .replace("b",
                     str(
                         allocate())))
    if (text
            and allocate() is None
            or allocate()):
        for _ in [allocate()]: allocate()
    return {
        "key":
            allocate(),
        **dict(
            other=allocate(),
        ),
    }


def execute(source, name):
    kept.append((compile(source, name, "exec"), {"allocate": allocate, "a": 1}))
    exec(*kept[-1])


def executed():
    source = "def f():\n    g()\n\n\ndef g():\n  \n  allocate()\n\nf()\n"
    for name in ["<generated>", "größe.py", "数.py", "🐍/数.py", "f" * 511, "f" * 512, "数" * 700, "g" * 9000, ""]:
        execute(source, name)
    for name in ["größe", "数", "𠀀", "n" * 600, "ñ" * 512, "数" * 700, "𠀀" * 400, "n" * 9000]:
        execute("def %s():\n  allocate()\n%s()" % (name, name), "<string>")
    eval("(lambda: allocate())()")


def long_tables():
    for count in [300, 2000, 60000]:
        body = "".join("  x = a\n" for _ in range(count))
        execute("def long():\n%s  allocate()\n" % body, "<long %d>" % count)
        kept[-1][1]["long"]()


def größe():
    def 数():
        allocate()

    数()


def profiled():
    sys.setprofile(lambda *_: None)
    allocate()
    sys.setprofile(None)
    sys.settrace(lambda *_: None)
    allocate()
    sys.settrace(None)


if sys.argv[1] == "deep":
    sys.setrecursionlimit(10000)
    recursive(5000)
else:
    long_tables()
    executed()
    for depth in [0, 1, 127, 128, 900]:
        recursive(depth)
    sys.setrecursionlimit(3000)
    recursive(1500)
    generators()
    asyncio.run(tasks())
    comprehensions()()
    through_c()
    classes()
    exceptions()
    lines()
    größe()
    profiled()
    allocate()
print(json.dumps(noted))
