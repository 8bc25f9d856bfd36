/* A library that allocates while it is loaded, and again when it is called. */
#include <stdlib.h>

void *kept[2];

__attribute__((constructor)) static void construct(void)
{
    kept[0] = malloc(1234577);
}

void allocate(void)
{
    kept[1] = malloc(1234583);
}
