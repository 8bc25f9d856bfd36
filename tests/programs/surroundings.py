"""Prints all that a program can find out about how it was started, one fact a line."""

import ctypes
import os
import resource
import signal
import sys


def status():
    """/proc/self/status without what differs from one process to the next."""
    names = (
        "Umask TracerPid Uid Gid Groups Threads SigQ SigPnd ShdPnd SigBlk SigIgn SigCgt CapInh CapPrm CapEff CapBnd "
        "CapAmb NoNewPrivs Seccomp Seccomp_filters Cpus_allowed Mems_allowed CoreDumping THP_enabled"
    ).split()
    with open("/proc/self/status") as file:
        lines = dict(line.split(":", 1) for line in file)
    # The first number counts the signals of all processes of the user.
    lines["SigQ"] = lines["SigQ"].split("/")[1]
    return {name: lines[name].strip() for name in names if name in lines}


def descriptors():
    links = {}
    for name in sorted(os.listdir("/proc/self/fd"), key=int):
        try:
            links[name] = os.readlink("/proc/self/fd/" + name)
        except FileNotFoundError:
            pass  # that of the listing itself
    return links


def text(name):
    with open("/proc/self/" + name) as file:
        return file.read().strip()


def prctl(option):
    libc = ctypes.CDLL(None, use_errno=True)
    value = ctypes.c_int(0)
    result = libc.prctl(option, ctypes.byref(value), 0, 0, 0)
    return (result, value.value)


PR_GET_PDEATHSIG, PR_GET_DUMPABLE, PR_GET_TIMERSLACK, PR_GET_CHILD_SUBREAPER = 1, 3, 30, 37

facts = {
    "argv": sys.argv,
    "orig_argv": getattr(sys, "orig_argv", None),
    "path": sys.path,
    "executable": sys.executable,
    "prefix": (sys.prefix, sys.base_prefix, sys.exec_prefix),
    "flags": sys.flags,
    "xoptions": sys._xoptions,
    "warnoptions": sys.warnoptions,
    "file": globals().get("__file__"),
    "name": __name__,
    "package": __package__,
    "modules": sorted(set(sys.modules) - {"ctypes", "resource"}),
    "cwd": os.getcwd(),
    "command line": open("/proc/self/cmdline", "rb").read(),
    "environment": sorted(os.environb.items()),
    "initial environment": sorted(open("/proc/self/environ", "rb").read().split(b"\0")),
    "descriptors": descriptors(),
    "blocking": [os.get_blocking(fd) for fd in range(3)],
    "terminals": [os.isatty(fd) for fd in range(3)],
    "process group is the parent's": os.getpgrp() == os.getpgid(os.getppid()),
    "session": os.getsid(0) == os.getsid(os.getppid()),
    "nice": os.getpriority(os.PRIO_PROCESS, 0),
    "scheduler": (os.sched_getscheduler(0), os.sched_getparam(0).sched_priority),
    "affinity": os.sched_getaffinity(0),
    "limits": {name: resource.getrlimit(getattr(resource, name)) for name in dir(resource) if "RLIMIT_" in name},
    "handlers": {number: str(signal.getsignal(number)) for number in range(1, signal.NSIG) if number not in (32, 33)},
    "mask": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
    "timers": [signal.getitimer(which) for which in (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)],
    "oom_score_adj": text("oom_score_adj"),
    "personality": text("personality"),
    "coredump_filter": text("coredump_filter"),
    "cgroup": text("cgroup"),
    "namespaces": {name: os.readlink("/proc/self/ns/" + name) for name in sorted(os.listdir("/proc/self/ns"))},
    "comm": text("comm"),
    "parent death signal": prctl(PR_GET_PDEATHSIG),
    "dumpable": ctypes.CDLL(None).prctl(PR_GET_DUMPABLE),
    "timer slack": ctypes.CDLL(None).prctl(PR_GET_TIMERSLACK),
    "child subreaper": prctl(PR_GET_CHILD_SUBREAPER),
    "children": text("task/%d/children" % os.getpid()),
    "input": sys.stdin.buffer.read() if sys.stdin else None,
    **{"status " + name: value for name, value in status().items()},
}
for name, value in facts.items():
    print(name, "=", value)
