#pragma once

#include <vector>

#include "launcher/setting.h"

namespace reprise {

// The rows of `checkpointing:`. The policy's value stands under the key of the policy's own name.
std::vector<Setting> checkpointing_settings();

}  // namespace reprise
