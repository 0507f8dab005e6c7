#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "distributed/communicator.h"

namespace reprise {

// A message under way. Dropping an incomplete one is allowed only when the transport is abandoned.
class Transfer {
 public:
  virtual ~Transfer() = default;
  virtual bool is_complete() = 0;  // never blocks; throws PeerLost when the peer is gone
};

// Moves bytes between the ranks of one group without ever blocking: what a backend has to bring; everything above it is
// shared. One thread at a time makes the calls. Messages between two ranks match in the order in which they are posted
// among those of a tag, and both sides give the same length. Buffers stay untouched until the transfer is complete.
class Transport {
 public:
  virtual ~Transport() = default;
  virtual std::unique_ptr<Transfer> send(int peer, const void* data, size_t bytes, int tag) = 0;
  virtual std::unique_ptr<Transfer> receive(int peer, void* data, size_t bytes, int tag) = 0;
  virtual void progress() {}  // moves on what a completed send may still hold back; called now and then while idle
  virtual void abandon() noexcept = 0;  // this rank makes no more transfers, whatever its peers wait for

  const Place& place() const { return place_; }
  const std::string& name(int rank) const { return place_.names.at(rank); }

 protected:
  Place place_;  // set by the constructor
};

}  // namespace reprise
