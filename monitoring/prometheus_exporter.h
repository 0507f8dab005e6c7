#pragma once

#include <memory>
#include <string>

#include "monitoring/step_report.h"

namespace reprise {

struct PrometheusExporter {
  std::unique_ptr<Sink> sink;  // null when the port could not be taken
  std::string address;         // "127.0.0.1:39123", or with this host's name for every interface; empty then
  std::string warning;         // why not, one line
};

// Serves the metrics of metric_table.h of this rank on /metrics, with base labels run and rank; the sink is to hear of
// everything, from start() on. `listen` is host:port; port 0 takes a free one. Never throws for a bad or taken address:
// see `warning`. The sink owns the exporter's threads (civetweb), which only read what its methods set.
PrometheusExporter make_prometheus_exporter(const std::string& listen, const std::string& run, int rank);

// A fixed port is the first local rank's; the others follow it. Port 0 means any free one on every rank.
std::string exporter_address(const std::string& listen, int local_rank);

}  // namespace reprise
