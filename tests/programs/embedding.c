/* A program that is not Python but runs one: `embedding first|second ARGUMENTS` in its first thread, or in its second
   one while the first has ended. Linked with libpython. */

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

int Py_BytesMain(int count, char **arguments);

static int count;
static char **arguments;

static void *run(void *unused) {
    (void)unused;
    exit(Py_BytesMain(count - 1, arguments + 1));
}

int main(int main_count, char **main_arguments) {
    pthread_t thread;
    count = main_count;
    arguments = main_arguments;
    if (count < 2)
        return 2;
    if (!strcmp(arguments[1], "first"))
        run(NULL);
    if (pthread_create(&thread, NULL, run, NULL))
        return 3;
    pthread_exit(NULL);
}
