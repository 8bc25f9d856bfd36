/* Memory by ways of C that a profiler may not see: see parity_other_ways.py. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MIB (1 << 20)

void *kept[4];

/* As OpenBLAS does in numpy. */
__attribute__((constructor)) static void construct(void)
{
    kept[0] = malloc(1234577);
}

void empty(void)
{
    void *block = malloc(3000083);
    kept[1] = realloc(block, 0);
}

/* A reservation, of which parts are mapped over one after the other, as allocators of languages do. */
void map_over(void)
{
    char *start = mmap(NULL, 40 * MIB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (int part = 0; part < 2; part++)
        kept[2] = mmap(start + part * 10 * MIB, 10 * MIB, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    kept[2] = mmap(start, 10 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
}

/* `MAP_POPULATE` changes nothing of what is counted; without the C library's `mmap` only the kernel sees it. */
void map_raw(void)
{
    kept[3] = (void *)syscall(SYS_mmap, NULL, 12 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}
