#include "launcher/exit_codes.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <new>
#include <system_error>

#include "distributed/agreement.h"
#include "distributed/communicator.h"
#include "launcher/config.h"
#include "launcher/joint_choice.h"
#include "training/errors.h"

namespace reprise {

namespace {

std::string one_line(std::string text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text;
}

}  // namespace

Failure describe_failure(std::exception_ptr error) {
  try {
    std::rethrow_exception(error);
  } catch (const SharedFailure& failure) {
    return {failure.code(), one_line(failure.what()), true};
  } catch (const ConfigError& failure) {
    return {kConfiguration, one_line(failure.what())};
  } catch (const InvalidSetting& failure) {
    return {kConfiguration, one_line(failure.key() + ": " + failure.what())};
  } catch (const Disagreement& failure) {
    return {kConfiguration, one_line(failure.what()), true};
  } catch (const UsageError& failure) {
    return {kUsage, one_line(failure.what())};
  } catch (const NothingFits& failure) {
    return {kDoesNotFit, one_line(failure.what())};
  } catch (const DataError& failure) {
    return {kBadInput, one_line(failure.what())};
  } catch (const StorageError& failure) {
    return {kStorage, one_line(failure.what())};
  } catch (const std::system_error& failure) {
    return {kStorage, one_line(failure.what())};
  } catch (const PeerLost& failure) {
    return {kPeerLost, one_line(failure.what())};
  } catch (const c10::OutOfMemoryError& failure) {
    return {kDoesNotFit, one_line(failure.what_without_backtrace())};
  } catch (const std::bad_alloc&) {
    return {kDoesNotFit, "out of memory"};
  } catch (const c10::Error& failure) {
    const std::string text = one_line(failure.what_without_backtrace());
    const bool is_memory = text.find("alloc_cpu.cpp") != std::string::npos;  // on the CPU LibTorch has no class for it
    return {is_memory ? kDoesNotFit : kInternal, is_memory ? "out of memory: " + text : text};
  } catch (const std::exception& failure) {
    return {kInternal, one_line(failure.what())};
  } catch (...) {
    return {kInternal, "an exception of unknown type"};
  }
}

std::string exit_codes_help() {
  return "Exit codes: 0 done, 64 usage, 65 bad input data, 69 does not fit, 70 internal, 74 storage, 75 peer lost,\n"
         "78 configuration. When mpirun itself is first to see a dead process, it returns 137, 139 or 143.";
}

}  // namespace reprise
