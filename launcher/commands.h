#pragma once

#include "launcher/program.h"

namespace reprise {

Command add_train(CLI::App& app);
Command add_plan(CLI::App& app);
Command add_profile(CLI::App& app);
Command add_data_prepare(CLI::App& data);
Command add_data_inspect(CLI::App& data);
Command add_sample(CLI::App& app);
Command add_eval(CLI::App& app);
Command add_import(CLI::App& app);
Command add_export(CLI::App& app);
Command add_doctor(CLI::App& app);
Command add_watch(CLI::App& app);
Command add_report(CLI::App& app);
Command add_trace_merge(CLI::App& trace);

}  // namespace reprise
