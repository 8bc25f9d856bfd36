/* Traces a process as a debugger does: `tracer PID running` lets it run, `tracer PID stopped` keeps it stopped. Says
   `ready`, and lets go of it when its input ends. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

int main(int count, char **arguments) {
    if (count != 3)
        return 2;
    pid_t pid = atoi(arguments[1]);
    if (ptrace(PTRACE_SEIZE, pid, NULL, NULL))
        return 3;
    if (!strcmp(arguments[2], "stopped")) {
        if (ptrace(PTRACE_INTERRUPT, pid, NULL, NULL))
            return 4;
        if (waitpid(pid, NULL, __WALL) != pid)
            return 5;
    }
    puts("ready");
    fflush(stdout);
    while (getchar() != EOF)
        ;
    /* The end of a tracer lets its tracee run. */
    return 0;
}
