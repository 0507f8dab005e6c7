#include "launcher/exit_codes.h"

#include <c10/util/Exception.h>
#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <new>
#include <system_error>

#include "distributed/agreement.h"
#include "distributed/communicator.h"
#include "launcher/config.h"
#include "launcher/joint_choice.h"
#include "monitoring/json_text.h"
#include "training/errors.h"

namespace reprise {
namespace {

template <class E>
Failure failure_of(const E& exception) {
  return describe_failure(std::make_exception_ptr(exception));
}

TEST(ExitCodes, EveryKindOfFailureHasItsCode) {
  EXPECT_EQ(failure_of(UsageError("x")).code, 64);
  EXPECT_EQ(failure_of(DataError("x")).code, 65);
  EXPECT_EQ(failure_of(DamagedFile("x")).code, 65);
  EXPECT_EQ(failure_of(std::bad_alloc()).code, 69);
  EXPECT_EQ(failure_of(NothingFits("x", 1)).code, 69);
  EXPECT_EQ(failure_of(TrainingStopped("x")).code, 70);
  EXPECT_EQ(failure_of(std::logic_error("x")).code, 70);
  EXPECT_EQ(describe_failure(std::make_exception_ptr(42)).code, 70);
  EXPECT_EQ(failure_of(StorageError("x")).code, 74);
  EXPECT_EQ(failure_of(std::system_error(std::make_error_code(std::errc::no_space_on_device), "x")).code, 74);
  EXPECT_EQ(failure_of(PeerLost("x")).code, 75);
  EXPECT_EQ(failure_of(ConfigError("x")).code, 78);
  EXPECT_EQ(failure_of(Disagreement("x")).code, 78);
  EXPECT_EQ(failure_of(InvalidSetting("model.heads", "expected 4, got 3")).code, 78);
  EXPECT_EQ(failure_of(SharedFailure(74, "x")).code, 74);
  EXPECT_EQ(failure_of(ReplicasDiverged("x")).code, 86);
  EXPECT_EQ(failure_of(ReplayDiffers("x")).code, 86);
}

TEST(ExitCodes, ATensorTooBigForTheMachineDoesNotFit) {
  try {
    torch::empty({int64_t{1} << 55});
    FAIL() << "allocated";
  } catch (...) {
    const Failure failure = describe_failure(std::current_exception());
    EXPECT_EQ(failure.code, 69);
    EXPECT_TRUE(failure.message.starts_with("out of memory: ")) << failure.message;
  }
}

TEST(ExitCodes, MessagesAreOneLineAndNameTheKey) {
  EXPECT_EQ(failure_of(InvalidSetting("model.heads", "expected 4, got 3")).message, "model.heads: expected 4, got 3");
  EXPECT_EQ(failure_of(std::runtime_error("first\nsecond\n")).message, "first second");
  try {
    TORCH_CHECK(false, "shapes differ");
  } catch (const c10::Error&) {
    EXPECT_EQ(describe_failure(std::current_exception()).message.find("Exception raised from"), std::string::npos);
  }
}

TEST(ExitCodes, SharedFailuresAreToldOnce) {
  EXPECT_TRUE(failure_of(SharedFailure(70, "x")).is_shared);
  EXPECT_TRUE(failure_of(Disagreement("x")).is_shared);
  EXPECT_TRUE(failure_of(ReplicasDiverged("x")).is_shared);
  EXPECT_FALSE(failure_of(PeerLost("x")).is_shared);
  EXPECT_FALSE(failure_of(ReplayDiffers("x")).is_shared);
}

}  // namespace
}  // namespace reprise
