#include "launcher/vigil.h"

#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <thread>

#include "distributed/mpi_communicator.h"
#include "launcher/exit_codes.h"
#include "training/trainer.h"

namespace reprise {
namespace {

constexpr std::chrono::seconds kLongestEnd{5};

HeartbeatSetting setting_for(const Communicator& communicator, const Config& config, const StageChain& model) {
  return {.describe = [&model](uint64_t position) { return describe_position(position, model); },
          .deadline_seconds = config.distributed.deadline_seconds,
          .events_path = fmt::format("{}/rank{}.events", config.run.directory, communicator.rank()),
          .say =
              [](const std::string& line) {
                fmt::print(stderr, "reprise: {}\n", line);
                std::fflush(stderr);
              },
          .arm =
              [] {
                std::thread([] {
                  std::this_thread::sleep_for(kLongestEnd);
                  kill(getpid(), SIGKILL);
                }).detach();
              },
          .end_job = [] { abort_mpi_job(kPeerLost); }};
}

}  // namespace

Vigil::Vigil(Communicator& communicator, StopRequest& stop, const Config& config, const StageChain& model)
    : stop_(stop), heartbeat_(communicator, setting_for(communicator, config, model)) {
  stop_.explain_term_by([this] { return heartbeat_.on_term(); });
}

}  // namespace reprise
