"""Has children in every way that Python and C know. The first argument names the way; the others are its own.

Prints nothing that differs from one run to the next, and ends with status 7. Sizes are those that nothing else
allocates.
"""

import ctypes
import multiprocessing
import os
import subprocess
import sys
import threading

libc = ctypes.CDLL(None)
malloc, free = libc.malloc, libc.free
malloc.argtypes, malloc.restype = [ctypes.c_size_t], ctypes.c_void_p
free.argtypes, free.restype = [ctypes.c_void_p], None
child = os.path.join(os.path.dirname(os.path.abspath(__file__)), "child.py")


def end_of(pid):
    _, status = os.waitpid(pid, 0)
    print("child ended with", status >> 8, status & 127, flush=True)


def fork():
    """Both go on with the blocks from before, each with its own."""
    freed_by_child, freed_by_parent = malloc(1234701), malloc(1234703)  #: before
    pid = os.fork()
    if pid == 0:
        free(freed_by_child)
        malloc(1234705)  #: in child
        free(malloc(1234707))  #: freed by child
        os._exit(3)
    end_of(pid)
    free(freed_by_parent)
    malloc(1234709)  #: after


def grandchildren(depth=4):
    malloc(1234710 + depth)  #: level
    if depth:
        pid = os.fork()
        if pid == 0:
            grandchildren(depth - 1)  #: deeper
            os._exit(depth)
        end_of(pid)


def daemon():
    """Outlives its parent, which does not wait, and is in a session of its own."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.setsid()
        if os.fork() == 0:
            malloc(1234721)  #: daemon
            os.write(writer, b"daemon was here")
            os._exit(4)
        os._exit(0)
    end_of(pid)
    os.close(writer)
    print(os.read(reader, 100), os.read(reader, 1), flush=True)


def from_a_thread():
    """The child's only thread is not the parent's first one."""
    done = []

    def work():
        pid = os.fork()
        if pid == 0:
            malloc(1234723)  #: forked by a thread
            os._exit(0)
        done.append(pid)

    thread = threading.Thread(target=work, name="forker")
    thread.start()
    thread.join()
    end_of(done[0])


def by_subprocess(interpreter):
    done = subprocess.run([interpreter, child, "1234731", "4"], stdout=subprocess.PIPE)
    print(done.returncode, done.stdout, flush=True)
    malloc(1234733)  #: after subprocess


def by_shell(interpreter):
    """A shell that waits for a Python."""
    done = subprocess.run("%s %s 1234735 4; exit 6" % (interpreter, child), shell=True, stdout=subprocess.PIPE)
    print(done.returncode, done.stdout, flush=True)


def by_posix_spawn(interpreter):
    end_of(os.posix_spawn(interpreter, [interpreter, child, "1234737", "5"], os.environ))


def by_vfork(interpreter, library):
    vfork_and_execute = ctypes.PyDLL(library).vfork_and_execute
    words = [word.encode() for word in (interpreter, child, "1234741", "6")]
    vfork_and_execute.argtypes = [ctypes.c_size_t, ctypes.c_char_p * 5]
    print(vfork_and_execute(1234739, (ctypes.c_char_p * 5)(*words, None)), flush=True)  #: vfork


def at_once(library):
    """A child's first act is an allocation, one after the other."""
    fork_and_allocate = ctypes.PyDLL(library).fork_and_allocate
    fork_and_allocate.argtypes = [ctypes.c_size_t]
    for _ in range(20):
        print(fork_and_allocate(1234743), flush=True)  #: at once


def work(size):
    malloc(size)  #: work


def by_multiprocessing(method):
    context = multiprocessing.get_context(method)
    for size in (1234751, 1234753):
        process = context.Process(target=work, args=(size,))
        process.start()
        process.join()
        print("child ended with", process.exitcode, flush=True)


def by_pool(method):
    with multiprocessing.get_context(method).Pool(2) as pool:
        pool.map(work, [1234755] * 8, chunksize=1)
        pool.close()
        pool.join()
    print("pool has ended", flush=True)


def execute(interpreter):
    malloc(1234761)  #: before exec
    os.execv(interpreter, [interpreter, child, "1234763", "7"])


def execute_in_a_thread(interpreter, *words):
    """The thread takes the place, and the number, of the first one. Without words of others the program is the child."""
    malloc(1234765)  #: before exec in a thread
    words = words or (child, "1234767", "7")
    thread = threading.Thread(target=lambda: os.execv(interpreter, [interpreter, *words]))
    thread.start()
    thread.join()


def execute_many(*programs):
    """One after the other: each program is given the list of the rest."""
    malloc(1234769)  #: before many
    if programs:
        os.execv(programs[0], [programs[0], os.path.abspath(__file__), "execute_many", *programs[1:]])


def many(count):
    for _ in range(int(count)):
        pid = os.fork()
        if pid == 0:
            malloc(1234771)  #: one of many
            os._exit(0)
        os.waitpid(pid, 0)
    print("many have ended", flush=True)


def main():
    globals()[sys.argv[1]](*sys.argv[2:])  #: way
    sys.exit(7)


if __name__ == "__main__":
    if "wait" in sys.argv:
        sys.argv.remove("wait")
        print("ready", flush=True)
        # Not a byte more than the line, which another program may read on.
        while os.read(0, 1) != b"\n":
            pass
    main()  #: main
