#pragma once

#include <memory>
#include <string>

#include "monitoring/step_report.h"

namespace reprise {

// Draws training and held-out loss over steps into an SVG file, anew at every evaluation and at the end. Throws
// StorageError.
std::unique_ptr<Sink> make_loss_plot(const std::string& path);

}  // namespace reprise
