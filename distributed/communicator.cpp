#include "distributed/communicator.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>

namespace reprise {

double steady_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

std::string readable_bytes(const torch::Tensor& tensor) {
  const auto bytes = static_cast<double>(tensor.nbytes());
  if (bytes < 1024) return fmt::format("{:.0f} bytes", bytes);
  if (bytes < 1024 * 1024) return fmt::format("{:.1f} KiB", bytes / 1024);
  return fmt::format("{:.1f} MiB", bytes / (1024 * 1024));
}

void require_flat(const torch::Tensor& tensor, torch::Device device) {
  if (tensor.is_contiguous() && tensor.device() == device) return;
  throw std::invalid_argument("collectives of this communicator take contiguous tensors on " + device.str());
}

std::jthread watch(const Patience& patience, std::string call) {
  return std::jthread([&patience, call = std::move(call)](const std::stop_token& is_over) {
    std::mutex mutex;
    std::unique_lock lock(mutex);
    std::condition_variable_any never;
    const std::chrono::duration<double> limit(std::min(patience.seconds, 1e6));  // longer ones would overflow the clock
    if (never.wait_for(lock, is_over, limit, [&] { return is_over.stop_requested(); })) return;
    patience.give_up(fmt::format("{} has not ended within {:.1f} s: a rank is missing", call, patience.seconds));
  });
}

}  // namespace reprise
