// What a program can do to itself to mislead whoever looks at it from outside. Everything is put back before it returns.
#define _GNU_SOURCE
#include <asm/prctl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static void allocate(size_t size) { free(malloc(size)); }

// Puts another word in the place of every such word of an object; returns how many there were.
int exchange(uint64_t *object, int words, uint64_t word, uint64_t value) {
  int count = 0;
  for (int index = 0; index < words; index++) {
    if (object[index] == word) {
      object[index] = value;
      count++;
    }
  }
  return count;
}

// Allocates while the frame's link to its caller leads to `value`; returns 0 if the frame has no such link.
int poisoned(uint64_t *frame, uint64_t caller, uint64_t value, size_t size) {
  for (int word = 0; word < 11; word++) {
    if (frame[word] == caller) {
      frame[word] = value;
      allocate(size);
      frame[word] = caller;
      return 1;
    }
  }
  return 0;
}

// A chain of so many copies of the frame, which ends in a cycle.
uint64_t long_chain(const uint64_t *frame, uint64_t caller, size_t count) {
  const size_t stride = 16;
  uint64_t *chain = mmap(NULL, (count + 1) * stride * 8, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  for (size_t index = 0; index < count; index++) {
    uint64_t *copy = chain + index * stride;
    memcpy(copy, frame, stride * 8);
    for (size_t word = 0; word < stride; word++) {
      if (copy[word] == caller) copy[word] = (uint64_t)(chain + (index + 1) % count * stride);
    }
  }
  return (uint64_t)chain;
}

// The last word of a page behind which nothing is mapped, and a page that cannot be read.
uint64_t page_end(void) {
  char *pages = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  munmap(pages + 4096, 4096);
  return (uint64_t)(pages + 4088);
}

uint64_t unreadable(void) {
  return (uint64_t)mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

struct lie {
  pthread_key_t key;
  const void *state;
  size_t size;
};

static void *without_python(void *argument) {
  struct lie *lie = argument;
  pthread_setspecific(lie->key, lie->state);
  allocate(lie->size);
  pthread_setspecific(lie->key, NULL);
  return NULL;
}

// A thread that Python does not know says that its state is at this address. Returns 0 if states are not found by a key.
int fake_state(const void *real, const void *fake, size_t size) {
  for (pthread_key_t key = 0; key < 32; key++) {
    if (pthread_getspecific(key) == real) {
      struct lie lie = {key, fake, size};
      pthread_t thread;
      pthread_create(&thread, NULL, without_python, &lie);
      pthread_join(thread, NULL);
      return 1;
    }
  }
  return 0;
}

static char arena[64];

// Nobody else calls these functions of old, which need no thread-local storage here. Protected, or those of the C library
// would be called.
#define OWN __attribute__((noinline, visibility("protected")))
OWN void *pvalloc(size_t size) { return size ? arena : NULL; }
OWN void *valloc(size_t size) { return (void *)(uint64_t)size; }

// Any address and any size, as an allocator of the target's own can claim. The sizes are impossible or make an
// impossible sum.
void claims(size_t count) {
  pvalloc(SIZE_MAX);
  pvalloc((size_t)1 << 56);
  volatile size_t nowhere = SIZE_MAX - 4095;
  valloc(nowhere);
  for (size_t index = 0; index < count; index++) pvalloc(((size_t)1 << 55) + index);
}

// Allocates while `fs`, at which all threads find what is theirs, leads elsewhere. Nothing in between may use it.
__attribute__((no_stack_protector)) long other_fs(uint64_t base, size_t size) {
  uint64_t own;
  long result = syscall(SYS_arch_prctl, ARCH_GET_FS, &own);
  // Not by `syscall`, which writes to errno.
  __asm__ volatile("syscall" : "=a"(result) : "a"(SYS_arch_prctl), "D"(ARCH_SET_FS), "S"(base) : "rcx", "r11", "memory");
  if (result == 0) pvalloc(size);
  __asm__ volatile("syscall" : : "a"(SYS_arch_prctl), "D"(ARCH_SET_FS), "S"(own) : "rcx", "r11", "memory");
  return result;
}
