// ctest-ranks: 3
// A bit that flips on one process of three: all of them know, in time, which one it was.
#include <iostream>

#include "distributed/mpi_communicator.h"
#include "tests/training/tiny_trainer.h"
#include "training/errors.h"

int main() {
  using namespace reprise;
  constexpr int64_t kEvery = 5, kFlipped = 7;
  const auto communicator = make_mpi_communicator({60, [](const std::string&) { std::abort(); }});
  TrainerSetting setting = TinyTrainer::setting(communicator->size());
  setting.compare_every = kEvery;
  TinyTrainer tiny(*communicator, setting);
  try {
    while (tiny.trainer->steps_done() < 20) {
      if (tiny.trainer->steps_done() + 1 == kFlipped && communicator->rank() == 1) {
        flip_bit(tiny.flat.parameters, 3, 20);
      }
      tiny.step();
    }
    std::cout << "nothing was found" << std::endl;
  } catch (const ReplicasDiverged& error) {
    const std::string message = error.what();
    std::cout << message << std::endl;
    const bool is_right = message.find(": " + communicator->describe(1) + " (") != std::string::npos &&
                          message.find(communicator->describe(0)) == std::string::npos;
    communicator->barrier();
    return is_right && tiny.trainer->steps_done() == 2 * kEvery ? 0 : 1;
  }
  return 1;
}
