#include "distributed/threads_communicator.h"

#include <ATen/Parallel.h>

#include <exception>
#include <mutex>
#include <thread>

#include "distributed/local_transport.h"
#include "distributed/ring_communicator.h"

namespace reprise {

std::vector<std::unique_ptr<Communicator>> make_threads_communicators(int size) {
  std::vector<std::unique_ptr<Communicator>> communicators;
  for (auto& transport : make_local_transports(size)) {
    communicators.push_back(std::make_unique<RingCommunicator>(std::move(transport)));
  }
  return communicators;
}

void run_as_threads(int size, const std::function<void(Communicator&)>& body) {
  std::mutex mutex;
  std::exception_ptr first_error;
  const auto run_rank = [&](std::unique_ptr<Communicator> communicator) {
    at::init_num_threads();  // else MKL ignores the process's thread count in a new thread
    try {
      body(*communicator);
    } catch (...) {
      const std::lock_guard lock(mutex);
      if (!first_error) first_error = std::current_exception();
    }
    communicator.reset();  // the others learn that this rank is gone only after its error is recorded
  };
  std::vector<std::thread> threads;
  for (auto& communicator : make_threads_communicators(size)) threads.emplace_back(run_rank, std::move(communicator));
  for (std::thread& thread : threads) thread.join();
  if (first_error) std::rethrow_exception(first_error);
}

}  // namespace reprise
