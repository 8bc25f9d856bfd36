// Four threads, each of which keeps 100 blocks of 12,347 bytes and frees 100 of 12,349.
#include <pthread.h>
#include <stdlib.h>

static void *work(void *argument) {
    for (int i = 0; i < 100; i++) {
        volatile char *kept = malloc(12347);
        *kept = 1;
        free(malloc(12349));
    }
    return argument;
}

int main(void) {
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) pthread_create(&threads[i], NULL, work, NULL);
    for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
    return 5;
}
