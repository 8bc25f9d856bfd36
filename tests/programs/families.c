/* Children made by C, so that nothing of Python comes between their birth and what they do. */

#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static int end_of(pid_t pid) {
    int status;
    if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
        return -1;
    return WEXITSTATUS(status);
}

/* The child's first act is an allocation. */
int fork_and_allocate(size_t size) {
    pid_t pid = fork();
    if (pid == 0) {
        malloc(size);
        _exit(5);
    }
    return end_of(pid);
}

/* The child borrows its parent's memory, and its breakpoints, until it is another program. */
int vfork_and_execute(size_t size, char **arguments) {
    pid_t pid = vfork();
    if (pid == 0) {
        malloc(size);
        execv(arguments[0], arguments);
        _exit(127);
    }
    return end_of(pid);
}
