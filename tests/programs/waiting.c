/* Loops without an instruction of the interpreter until there is something to read, then allocates. */

#include <poll.h>
#include <stdlib.h>

void loop_until_input(size_t size) {
    struct pollfd input = {.fd = 0, .events = POLLIN};
    while (poll(&input, 1, 0) == 0)
        ;
    malloc(size);
}
