/* Allocates and frees as its arguments say, and nothing else: `a=1024` allocates a block called a, `-a` frees it,
   `a:2048` reallocates it. Names are single letters; `M=8192` with a capital letter maps pages, `-M` unmaps them. */

#define _GNU_SOURCE
#include <ctype.h>
#include <stdlib.h>
#include <sys/mman.h>

static void *blocks[128];
static size_t sizes[128];

int main(int count, char **steps) {
    for (int i = 1; i < count; i++) {
        char *step = steps[i];
        int is_end = step[0] == '-';
        int name = step[is_end] & 127;
        size_t size = is_end ? 0 : strtoul(step + 2, NULL, 10);
        if (is_end && isupper(name)) {
            if (munmap(blocks[name], sizes[name]))
                return 1;
        } else if (is_end) {
            free(blocks[name]);
        } else if (isupper(name)) {
            blocks[name] = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        } else if (step[1] == ':') {
            blocks[name] = realloc(blocks[name], size);
        } else {
            blocks[name] = malloc(size);
        }
        sizes[name] = size;
    }
    return 0;
}
