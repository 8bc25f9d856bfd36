/* Allocates and frees as fast as it can, and knows exactly what it did: the last line that it prints has each number.

   stress churn THREADS ROUNDS   threads that hand blocks to one another, so that most are freed by another thread
   stress crowd THREADS          threads that live at one time, each with a block
   stress queue THREADS          threads that live one after the other, each with a block

   Sizes: a block that stays is KEPT_BYTES, a reallocated one MOVED_BYTES, any other below 2,000. Meanwhile a thread
   waits in system calls that no handler restarts, and a handler for each signal counts it. */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { KEPT_BYTES = 40009, MOVED_BYTES = 5003, SLOTS = 2048, KEEP_EACH = 1000, MOVE_EACH = 8 };

static atomic_ulong allocations, allocated_bytes, frees, kept, signals, interrupted, waits;
static _Atomic(void *) slots[SLOTS];
static atomic_bool is_over;
static pthread_barrier_t barrier;
static unsigned long rounds;

static void on_signal(int number) {
    (void)number;
    signals++;
}

static void catch_all(void) {
    struct sigaction action = {.sa_handler = on_signal};
    for (int number = 1; number < NSIG; number++)
        sigaction(number, &action, NULL);
}

/* Each call is one that a signal ends with EINTR. */
static void *wait_for_nothing(void *argument) {
    int *pipe_ends = argument;
    sem_t semaphore;
    sem_init(&semaphore, 0, 0);
    while (!is_over) {
        struct pollfd pipe_end = {.fd = pipe_ends[0], .events = POLLIN};
        struct timespec nap = {.tv_nsec = 2000000}, deadline;
        if (poll(&pipe_end, 1, 2) < 0 && errno == EINTR)
            interrupted++;
        if (nanosleep(&nap, NULL) < 0 && errno == EINTR)
            interrupted++;
        clock_gettime(CLOCK_REALTIME, &deadline);
        deadline.tv_nsec += 2000000;
        if (deadline.tv_nsec >= 1000000000) {
            deadline.tv_sec++;
            deadline.tv_nsec -= 1000000000;
        }
        if (sem_timedwait(&semaphore, &deadline) < 0 && errno == EINTR)
            interrupted++;
        waits += 3;
    }
    return NULL;
}

static void *allocate(size_t bytes) {
    allocations++;
    allocated_bytes += bytes;
    return malloc(bytes);
}

static void release(void *block) {
    if (block == NULL)
        return;
    frees++;
    free(block);
}

static void *churn(void *argument) {
    uint64_t random = 88172645463325252u + (uintptr_t)argument * 7919;
    for (unsigned long round = 1; round <= rounds; round++) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        void *block = allocate(16 + random % 16 * 120);
        if (round % MOVE_EACH == 0) {
            allocations++;
            allocated_bytes += MOVED_BYTES;
            frees++;
            block = realloc(block, MOVED_BYTES);
        }
        release(atomic_exchange(&slots[random >> 40 & (SLOTS - 1)], block));
        if (round % KEEP_EACH == 0) {
            *(volatile char *)allocate(KEPT_BYTES) = 1;
            kept++;
        }
    }
    return NULL;
}

static void *live_with_others(void *argument) {
    void *block = allocate(100 + (uintptr_t)argument % 100);
    pthread_barrier_wait(&barrier);
    release(block);
    return NULL;
}

static void *live_alone(void *argument) {
    release(allocate(100 + (uintptr_t)argument % 100));
    return NULL;
}

/* printf and dprintf allocate. */
static void say(const char *format, unsigned long a, unsigned long b, unsigned long c, unsigned long d, unsigned long e,
                unsigned long f, unsigned long g) {
    char line[300];
    int length = snprintf(line, sizeof line, format, a, b, c, d, e, f, g);
    if (write(1, line, length) != length)
        exit(1);
}

static void start(pthread_t *thread, void *(*body)(void *), void *argument) {
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 64 << 10);
    int error = pthread_create(thread, &attributes, body, argument);
    if (error != 0) {
        fprintf(stderr, "pthread_create: %s\n", strerror(error));
        exit(1);
    }
    pthread_attr_destroy(&attributes);
}

int main(int count, char **words) {
    static pthread_t threads[1 << 16];
    if (count < 3)
        return 2;
    uintptr_t n_threads = strtoul(words[2], NULL, 10);
    rounds = count > 3 ? strtoul(words[3], NULL, 10) : 0;
    int pipe_ends[2];
    if (n_threads >= sizeof threads / sizeof *threads || pipe(pipe_ends) != 0)
        return 2;
    catch_all();
    bool has_begun = false;
    pthread_t waiting;
    start(&waiting, wait_for_nothing, pipe_ends);
    pthread_barrier_init(&barrier, NULL, n_threads);
    void *(*body)(void *) = strcmp(words[1], "churn") == 0 ? churn : strcmp(words[1], "crowd") == 0 ? live_with_others : live_alone;
    for (uintptr_t index = 0; index < n_threads; index++) {
        start(&threads[index], body, (void *)index);
        if (body == live_alone)
            pthread_join(threads[index], NULL);
        /* Tells that the stress begins, in a crowd a little before its end. */
        if (index + 2 >= n_threads && !has_begun) {
            has_begun = true;
            say("begun\n", 0ul, 0ul, 0ul, 0ul, 0ul, 0ul, 0ul);
        }
    }
    for (uintptr_t index = 0; body != live_alone && index < n_threads; index++)
        pthread_join(threads[index], NULL);
    for (int index = 0; index < SLOTS; index++)
        release(slots[index]);
    is_over = true;
    pthread_join(waiting, NULL);
    say("allocations %lu bytes %lu frees %lu kept %lu signals %lu interrupted %lu waits %lu\n", allocations,
            allocated_bytes, frees, kept, signals, interrupted, waits);
    return 0;
}
