#pragma once

#include <c10/core/Event.h>
#include <torch/types.h>

#include <memory>
#include <optional>
#include <vector>

#include "distributed/communicator.h"
#include "distributed/flat_layout.h"

namespace reprise {

struct ReducerTimes {
  double comm_seconds = 0;            // time with at least one bucket on the wire
  double exposed_seconds = 0;         // the main thread, or the device's current stream, waiting in finish()
  std::vector<WireInterval> buckets;  // in launch order
};

// Sums the flat gradients over all ranks, bucket by bucket, while the backward still runs. A bucket leaves as soon as
// its lowest point is final. With overlap off every bucket leaves in finish(): the same sums, the same bits. In a
// narrower type than the gradients' each bucket travels as a rounded copy, from staging bytes of that type, and partial
// sums of more than two ranks are rounded on their way. Main thread only.
class GradientReducer {
 public:
  GradientReducer(Communicator& communicator, torch::Tensor flat_gradients, std::vector<Bucket> buckets, int points,
                  bool overlap, std::optional<torch::Dtype> travels_as = {});
  void begin_step();                  // zeroes the flat gradients
  void point_final(int point);        // last, …, 0, once each per step; anything else throws std::logic_error
  void finish();                      // launches what is left, waits for all: gradients are sums over ranks
  const ReducerTimes& times() const;  // of the last step; makes the host wait for the device, if there is one

 private:
  torch::Tensor range(const torch::Tensor& flat, size_t bucket) const;
  void launch_until(int point);  // every bucket whose lowest point is this one or above

  Communicator& communicator_;
  torch::Tensor flat_;
  torch::Tensor staged_;  // (numel) of the type that travels; undefined when that is the gradients' own
  std::vector<Bucket> buckets_;
  int points_;
  bool overlap_;
  bool in_step_ = false;                                    // between begin_step and finish
  int expected_point_ = -1;                                 // the next point_final argument; -1: all said
  std::vector<std::unique_ptr<Pending>> pending_;           // of the buckets launched so far
  std::optional<c10::Event> reached_finish_, left_finish_;  // by the device's current stream
  mutable ReducerTimes times_;                              // with no buckets until somebody asks
};

}  // namespace reprise
