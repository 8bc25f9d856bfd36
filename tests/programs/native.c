/* Allocations made by C, in ways that Python cannot: in threads of its own, in loops without an instruction of the
   interpreter between two calls. */

#define _GNU_SOURCE
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

void *allocate(size_t size) { return malloc(size); }

/* So late that another thread has taken the GIL, if this one does not hold it. */
void *allocate_later(size_t size) {
    usleep(30000);
    return malloc(size);
}

struct job {
    const char *name;
    void (*callback)(void);
    size_t before, after;
};

static void *run_job(void *argument) {
    struct job *job = argument;
    if (job->name)
        prctl(PR_SET_NAME, job->name);
    malloc(job->before);
    if (job->callback)
        job->callback();
    malloc(job->after);
    return NULL;
}

/* A thread that Python does not know; it may call back into Python between its two allocations. */
int in_thread(const char *name, size_t before, void (*callback)(void), size_t after) {
    struct job job = {name, callback, before, after};
    pthread_t thread;
    if (pthread_create(&thread, NULL, run_job, &job))
        return 1;
    return pthread_join(thread, NULL);
}

static void in_destructor(void *size) { malloc((size_t)size); }

static void *set_value(void *argument) {
    pthread_key_t *key = argument;
    pthread_setspecific(*key, (void *)1434577);
    return NULL;
}

/* A thread that allocates while it ends. */
int in_destructor_of_thread(void) {
    pthread_key_t key;
    pthread_t thread;
    if (pthread_key_create(&key, in_destructor))
        return 1;
    if (pthread_create(&thread, NULL, set_value, &key))
        return 1;
    return pthread_join(thread, NULL);
}

struct many {
    int count;
    size_t size;
};

static void *allocate_many(void *argument) {
    struct many *many = argument;
    for (int i = 0; i < many->count; i++) {
        void *block;
        if (posix_memalign(&block, 64, many->size))
            return argument;
        free(block);
    }
    return NULL;
}

int many_threads(int threads, int count, size_t size) {
    struct many many = {count, size};
    pthread_t *all = calloc(threads, sizeof(pthread_t));
    void *result;
    int failed = 0;
    for (int i = 0; i < threads; i++)
        failed |= pthread_create(&all[i], NULL, allocate_many, &many);
    for (int i = 0; i < threads; i++)
        failed |= pthread_join(all[i], &result) | (result != NULL);
    free(all);
    return failed;
}

/* Blocks that end in the reverse order. */
void nested(int count, size_t size) {
    void *blocks[64];
    for (int i = 0; i < count; i++)
        blocks[i] = malloc(size);
    for (int i = count; i > 0; i--)
        free(blocks[i - 1]);
}

/* Each block ends before the next begins. */
void pairs(int count, size_t size) {
    for (int i = 0; i < count; i++)
        free(malloc(size));
}

static void *free_it(void *block) {
    free(block);
    return NULL;
}

/* A block that another thread frees at once. */
int freed_elsewhere(size_t size) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, free_it, malloc(size)))
        return 1;
    return pthread_join(thread, NULL);
}

static size_t recursion_size;

static int compare(const void *left, const void *right) {
    (void)left;
    (void)right;
    malloc(recursion_size);
    return 0;
}

/* malloc in a callback of the C library. */
void in_callback_of_libc(size_t size) {
    int numbers[2] = {2, 1};
    recursion_size = size;
    qsort(numbers, 2, sizeof(int), compare);
}
