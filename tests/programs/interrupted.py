"""Says which signals it gets; ends as Python does on an interrupt, and with status 3 on SIGTERM."""

import os
import signal
import sys
import time


def say(text):
    os.write(1, text.encode() + b"\n")


def note(number, _frame):
    say("got " + signal.Signals(number).name)


def end(number, frame):
    note(number, frame)
    # Time for a second one that should not come.
    time.sleep(0.2)
    sys.exit(3)


for name in "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGCONT", "SIGALRM", "SIGWINCH":
    signal.signal(getattr(signal, name), note)
signal.signal(signal.SIGTERM, end)
if "ignore" in sys.argv:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
if "default" in sys.argv:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
blocks = [bytearray(100_000) for _ in range(10)]
try:
    say("ready")
    time.sleep(60)
except KeyboardInterrupt:
    say("interrupted")
    time.sleep(0.2)
    say("once")
    raise KeyboardInterrupt from None
