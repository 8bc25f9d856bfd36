/* Obeys lines like attached.py, without a Python: `allocate SIZE` keeps a block, `pair SIZE` frees it at once, `free`
   frees the last block that was kept. Answers each with `done`. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(void) {
    static void *blocks[128];
    size_t size, count = 0;
    char action[32];
    blocks[count++] = malloc(1234500);
    puts("ready");
    fflush(stdout);
    while (scanf("%31s", action) == 1) {
        if (!strcmp(action, "free") && count > 0)
            free(blocks[--count]);
        else if (scanf("%zu", &size) != 1)
            return 2;
        else if (!strcmp(action, "pair"))
            free(malloc(size));
        else if (!strcmp(action, "allocate") && count < 128)
            blocks[count++] = malloc(size);
        else
            return 3;
        puts("done");
        fflush(stdout);
    }
    puts("end");
    return 0;
}
