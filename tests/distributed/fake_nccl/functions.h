#pragma once

// The functions of an NCCL that hangs, fails, or is slow when a test says so. Include it in one file of a test.

#include <gtest/gtest.h>
#include <nccl.h>

#include <atomic>
#include <chrono>
#include <string>
#include <thread>

#include "distributed/nccl_communicator.h"
#include "tests/distributed/fake_device.h"

namespace reprise {

struct FakeNccl {
  std::atomic<ncclResult_t> result{ncclSuccess}, state{ncclSuccess}, registered{ncclSuccess};
  std::atomic<int> polls_in_progress{0};  // so often a call says that it goes on
  std::atomic<bool> sum_hangs{false}, abort_hangs{false};
};
inline FakeNccl* nccl = nullptr;

inline ncclResult_t called(const std::string& what) {
  fake_device.note(what);
  return nccl->polls_in_progress > 0 ? ncclInProgress : nccl->result.load();
}

inline void hang_while(const std::atomic<bool>& hangs) {
  while (hangs) std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

}  // namespace reprise

using reprise::called;
using reprise::fake_device;
using reprise::nccl;

ncclResult_t ncclGetUniqueId(ncclUniqueId* id) {
  id->internal[5] = 'x';
  return ncclSuccess;
}

ncclResult_t ncclCommInitRankConfig(ncclComm_t* comm, int, ncclUniqueId id, int, ncclConfig_t* config) {
  EXPECT_EQ(id.internal[5], 'x');
  EXPECT_EQ(config->blocking, 0);
  *comm = reinterpret_cast<ncclComm_t>(nccl);
  return called("start");
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t* state) {
  EXPECT_NE(comm, nullptr);
  *state = nccl->polls_in_progress > 0 && nccl->polls_in_progress-- > 0 ? ncclInProgress : nccl->state.load();
  return ncclSuccess;
}

ncclResult_t ncclAllReduce(const void* from, void* to, size_t count, ncclDataType_t type, ncclRedOp_t, ncclComm_t,
                           cudaStream_t stream) {
  EXPECT_EQ(from, to);
  EXPECT_EQ(type, ncclFloat32);
  EXPECT_EQ(stream, reinterpret_cast<cudaStream_t>(reprise::kFakeWire));
  reprise::hang_while(nccl->sum_hangs);
  return called("sum of " + std::to_string(count));
}

ncclResult_t ncclBroadcast(const void*, void*, size_t count, ncclDataType_t type, int root, ncclComm_t, cudaStream_t) {
  EXPECT_EQ(type, ncclUint8);
  return called("broadcast of " + std::to_string(count) + " from " + std::to_string(root));
}

ncclResult_t ncclCommRegister(ncclComm_t, void*, size_t bytes, void** handle) {
  fake_device.note("register " + std::to_string(bytes));
  if (nccl->registered == ncclSuccess) *handle = nccl;
  return nccl->registered;
}

ncclResult_t ncclCommDeregister(ncclComm_t, void* handle) {
  EXPECT_EQ(handle, nccl);
  return called("deregister");
}

ncclResult_t ncclCommFinalize(ncclComm_t) { return called("finalize"); }
ncclResult_t ncclCommDestroy(ncclComm_t) { return called("destroy"); }
ncclResult_t ncclCommAbort(ncclComm_t) {
  fake_device.note("abort");
  reprise::hang_while(nccl->abort_hangs);
  return ncclSuccess;
}
const char* ncclGetErrorString(ncclResult_t result) {
  return result == ncclRemoteError ? "remote error" : "other error";
}
const char* ncclGetLastError(ncclComm_t) { return "said the library"; }
