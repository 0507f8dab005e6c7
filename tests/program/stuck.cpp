// Preloaded into a rank by faults_test.py: hangs its main thread where a signal finds it, in one of three ways, or
// every fsync() once the file that STUCK_SAVE names is there.
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <cstdlib>

namespace {

void spin(int) {
  for (volatile bool for_ever = true; for_ever;) {
  }
}

void lock_twice(int) {
  static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
  pthread_mutex_lock(&mutex);
  pthread_mutex_lock(&mutex);
}

void read_nothing(int) {
  int ends[2];
  char byte = 0;
  while (pipe(ends) == 0 && read(ends[0], &byte, 1) < 0) {
  }
}

__attribute__((constructor)) void listen() {
  signal(SIGRTMIN + 1, spin);
  signal(SIGRTMIN + 2, lock_twice);
  signal(SIGRTMIN + 3, read_nothing);
}

}  // namespace

extern "C" int fsync(int file) {
  static const auto real = reinterpret_cast<int (*)(int)>(dlsym(RTLD_NEXT, "fsync"));
  const char* const marker = std::getenv("STUCK_SAVE");
  while (marker != nullptr && access(marker, F_OK) == 0) sleep(1);
  return real(file);
}
