/* Two threads, each on a CPU of its own where there are two: one allocates blocks, the other frees them. */

#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

#define BLOCKS 60000
#define PLACES 16

static void *_Atomic places[PLACES];

static void pin(int wanted) {
    cpu_set_t may, set;
    sched_getaffinity(0, sizeof may, &may);
    CPU_ZERO(&set);
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &may) && (wanted-- == 0 || CPU_COUNT(&may) == 1))
            CPU_SET(cpu, &set);
    sched_setaffinity(0, sizeof set, &set);
}

static void *free_all(void *argument) {
    pin(1);
    for (int i = 0; i < BLOCKS; i++) {
        void *block;
        while (!(block = atomic_exchange(&places[i % PLACES], NULL)))
            sched_yield();
        free(block);
    }
    return argument;
}

int main(void) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, free_all, NULL))
        return 1;
    pin(0);
    for (int i = 0; i < BLOCKS; i++) {
        void *block = malloc(1001);
        while (atomic_load(&places[i % PLACES]))
            sched_yield();
        atomic_store(&places[i % PLACES], block);
    }
    return pthread_join(thread, NULL);
}
