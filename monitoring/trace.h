#pragma once

#include <cstdio>
#include <memory>
#include <string>
#include <vector>

namespace reprise {

// One rank's part of a Chrome JSON trace: a process of the viewer, with a lane for each name. Times are seconds of this
// rank's steady_clock plus the given offset, which brings all ranks onto rank 0's clock. Main thread only. Throws
// std::system_error naming the path.
class TraceFile {
 public:
  TraceFile(const std::string& path, int rank, const std::string& process, const std::vector<std::string>& lanes,
            double offset_seconds);
  void span(size_t lane, const std::string& name, double start_seconds, double end_seconds);
  // Spans that may overlap each other: drawn below one another under one name.
  void wait(const std::string& group, int64_t id, const std::string& name, double start_seconds, double end_seconds);
  void counter(const std::string& name, double seconds, double value);
  void flush();

 private:
  std::string common(char phase, const std::string& name, double seconds) const;
  void write(const std::string& event);

  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  const std::string path_;
  const int rank_;
  const double offset_seconds_;
  std::unique_ptr<std::FILE, Close> file_;
};

// Joins the files of all ranks into one document; a last line that a killed rank left torn is left out. Throws
// DamagedFile when a line is no event, std::system_error on files.
void merge_traces(const std::vector<std::string>& inputs, const std::string& output);

}  // namespace reprise
