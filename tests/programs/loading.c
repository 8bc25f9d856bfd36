/* A program that loads a Python late, from a file that it is told: `loading LIBRARY ARGUMENTS` says `ready`, reads a
   line and then is a Python with these arguments, whose input are the lines that follow. */

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int count, char **arguments) {
    char letter = 0;
    if (count < 2)
        return 2;
    puts("ready");
    fflush(stdout);
    /* Not a byte more than the line. */
    while (letter != '\n')
        if (read(0, &letter, 1) != 1)
            return 3;
    malloc(1234615);
    void *library = dlopen(arguments[1], RTLD_NOW | RTLD_GLOBAL);
    if (!library) {
        fprintf(stderr, "%s\n", dlerror());
        return 4;
    }
    int (*run)(int, char **) = (int (*)(int, char **))dlsym(library, "Py_BytesMain");
    return run(count - 1, arguments + 1);
}
