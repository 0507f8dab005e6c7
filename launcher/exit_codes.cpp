#include "launcher/exit_codes.h"

#include <c10/util/Exception.h>

#include <algorithm>
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

std::string one_line(std::string text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text;
}

template <class Error>
bool is(const std::exception& failure) {
  return dynamic_cast<const Error*>(&failure) != nullptr;
}

}  // namespace

Failure describe_failure(std::exception_ptr error) {
  try {
    std::rethrow_exception(error);
  } catch (const SharedFailure& failure) {
    return {failure.code, one_line(failure.what()), true};
  } catch (const InvalidSetting& failure) {
    return {kConfiguration, one_line(failure.key() + ": " + failure.what())};
  } catch (const c10::OutOfMemoryError& failure) {
    return {kDoesNotFit, one_line(failure.what_without_backtrace())};
  } catch (const std::bad_alloc&) {
    return {kDoesNotFit, "out of memory"};
  } catch (const c10::Error& failure) {
    const std::string text = one_line(failure.what_without_backtrace());
    const bool is_memory = text.find("alloc_cpu.cpp") != std::string::npos;  // on the CPU LibTorch has no class for it
    return {is_memory ? kDoesNotFit : kInternal, is_memory ? "out of memory: " + text : text};
  } catch (const std::exception& failure) {
    const std::string message = one_line(failure.what());
    if (is<Disagreement>(failure)) return {kConfiguration, message, true};
    if (is<ReplicasDiverged>(failure)) return {kDiverged, message, true};
    if (is<ReplayDiffers>(failure)) return {kDiverged, message};
    if (is<ConfigError>(failure)) return {kConfiguration, message};
    if (is<UsageError>(failure)) return {kUsage, message};
    if (is<NothingFits>(failure)) return {kDoesNotFit, message};
    if (is<DataError>(failure) || is<DamagedFile>(failure)) return {kBadInput, message};
    if (is<StorageError>(failure) || is<std::system_error>(failure)) return {kStorage, message};
    return {is<PeerLost>(failure) ? kPeerLost : kInternal, message};
  } catch (...) {
    return {kInternal, "an exception of unknown type"};
  }
}

std::string exit_codes_help() {
  return "Exit codes: 0 done, 64 usage, 65 bad input data, 69 does not fit, 70 internal, 74 storage, 75 peer lost,\n"
         "78 configuration, 85 stopped on USR1, USR2 or run.max_seconds and saved, 86 ranks or replays differ,\n"
         "143 TERM; mpirun's, for a lost process or host: 134, 135, 137, 138, 139, 143, 205. See docs/cluster.md.";
}

}  // namespace reprise
