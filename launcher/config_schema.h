#pragma once

#include <vector>

#include "launcher/setting.h"

namespace reprise {

// All keys, in the order in which a configuration is written. Names are a protocol.
std::vector<Setting> config_schema();

// The rows of `checkpointing:` among them. A policy's value stands under the key of the policy's own name.
std::vector<Setting> checkpointing_settings();

}  // namespace reprise
