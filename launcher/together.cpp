#include "launcher/together.h"

#include <fmt/format.h>

#include "distributed/agreement.h"
#include "launcher/exit_codes.h"

namespace reprise {

void together(Communicator& communicator, const std::function<void()>& work) {
  std::string failure;  // "CODE message", empty when all went well
  try {
    work();
  } catch (const PeerLost&) {
    throw;  // nobody is left to agree with
  } catch (...) {
    const Failure found = describe_failure(std::current_exception());
    failure = fmt::format("{} {}", found.code, found.message);
  }
  const std::vector<std::string> failures = gather_texts(communicator, failure);
  for (int rank = 0; rank < communicator.size(); ++rank) {
    const std::string& text = failures[static_cast<size_t>(rank)];
    if (text.empty()) continue;
    const size_t space = text.find(' ');
    const std::string message = text.substr(space + 1);
    throw SharedFailure(std::stoi(text.substr(0, space)),
                        communicator.size() == 1 ? message : communicator.describe(rank) + ": " + message);
  }
}

}  // namespace reprise
