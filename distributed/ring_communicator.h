#pragma once

#include <memory>
#include <string>

#include "distributed/communicator.h"
#include "distributed/transport.h"
#include "distributed/wire_thread.h"

namespace reprise {

// The CPU communicator: ring algorithms over any transport, carried out by one communication thread. Tensors live on
// the CPU.
class RingCommunicator : public Communicator {
 public:
  explicit RingCommunicator(std::unique_ptr<Transport> transport);

  int rank() const override { return transport_->rank(); }
  int size() const override { return transport_->size(); }
  int local_rank() const override { return transport_->local_rank(); }
  int local_size() const override { return transport_->local_size(); }
  std::string describe(int rank) const override { return transport_->describe(rank); }

  std::unique_ptr<Pending> start_sum(torch::Tensor flat) override;
  void broadcast(torch::Tensor flat, int root) override;
  void barrier() override;
  void set_wait_limit(double seconds, std::string during) override;

 private:
  std::shared_ptr<WireJob> start(torch::Tensor flat, RingSchedule schedule, SumType type, std::string name);

  std::unique_ptr<Transport> transport_;
  WireThread wire_;  // after transport_: it stops before the transport goes
};

}  // namespace reprise
