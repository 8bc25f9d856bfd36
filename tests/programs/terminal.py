"""Runs a command in a terminal of its own, says what it is told to, and prints what appeared there.

    terminal.py STEPS COMMAND...

STEPS is one word: `expect:TEXT` waits for the text, `type:TEXT` types it, `kill:NAME` signals the command
alone; separated by `;`. The last line printed is the status of the command as a shell shows it.
"""

import os
import pty
import select
import signal
import sys
import time

steps, command = sys.argv[1], sys.argv[2:]
pid, terminal = pty.fork()
if pid == 0:
    os.execvp(command[0], command)

seen = b""
deadline = time.monotonic() + 30


def read():
    global seen
    if time.monotonic() > deadline:
        sys.stderr.write("waited too long; seen so far: %r\n" % seen)
        os.kill(pid, signal.SIGKILL)
        sys.exit(99)
    if select.select([terminal], [], [], 1)[0]:
        try:
            data = os.read(terminal, 65536)
        except OSError:  # the other end is closed
            data = b""
        seen += data
        return bool(data)
    return True


position = 0
for step in steps.split(";"):
    action, _, argument = step.partition(":")
    if action == "expect":
        while argument.encode() not in seen[position:]:
            if not read():
                sys.exit("ended before %r; seen: %r" % (argument, seen))
        position = seen.index(argument.encode(), position) + len(argument)
    elif action == "type":
        os.write(terminal, argument.encode().decode("unicode_escape").encode("latin-1"))
    elif action == "kill":
        os.kill(pid, getattr(signal, argument))
while read():
    pass
_, status = os.waitpid(pid, 0)
code = os.waitstatus_to_exitcode(status)
sys.stdout.buffer.write(seen)
print("status", code if code >= 0 else 128 - code)
