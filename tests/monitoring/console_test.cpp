#include "monitoring/console.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <chrono>
#include <limits>
#include <memory>
#include <string>
#include <thread>

namespace reprise {
namespace {

RunStart small_run(int64_t steps) {
  RunStart run;
  run.run = "first";
  run.model = "gpt2";
  run.plan = "KRRRRK";
  run.plan_origin = "full";
  run.ranks = 2;
  run.parameters = 12345678;
  run.steps = steps;
  run.global_sequences = 8;
  run.micro_sequences = 4;
  run.context = 256;
  return run;
}

StepReport step_report(int64_t step, double loss = 2.1341) {
  StepReport report;
  report.step = step;
  report.loss = loss;
  report.tokens = 2048;
  report.step_seconds = 0.05;
  report.comm_exposed_seconds = 0.0015;
  report.peak_bytes = 1;
  report.peak_bytes_max = 327575142;
  return report;
}

// Everything the console writes to a stream that is no terminal.
class Piped {
 public:
  explicit Piped(int64_t every_steps)
      : out_(open_memstream(&data_, &size_)), console(make_console(out_, every_steps)) {}
  ~Piped() {
    console.reset();
    std::fclose(out_);
    free(data_);
  }
  std::string text() {
    std::fflush(out_);
    return {data_, size_};
  }

 private:
  char* data_ = nullptr;
  size_t size_ = 0;
  std::FILE* out_;

 public:
  std::unique_ptr<Sink> console;
};

TEST(Console, PipedTextIsPlainLines) {
  Piped piped(2);
  RunStart run = small_run(1605);
  run.planned_peak_bytes = 300ull << 20;
  run.planned_step_seconds = 0.052;
  piped.console->start(run);
  piped.console->evaluation({.step = 0, .loss = 2.6, .tokens = 51200, .seconds = 1.2});  // does not come again
  for (int64_t step = 1; step <= 4; ++step) piped.console->step(step_report(step));
  EvaluationReport evaluation;
  evaluation.step = 4;
  evaluation.loss = 2.5;
  evaluation.tokens = 51200;
  evaluation.seconds = 1.2;
  piped.console->evaluation(evaluation);
  StepReport skipped = step_report(5, std::numeric_limits<double>::quiet_NaN());
  skipped.skipped = true;
  skipped.skip_reason = "non_finite";
  skipped.grad_norm = std::numeric_limits<double>::quiet_NaN();
  skipped.samples = {32, 39};
  piped.console->step(skipped);
  piped.console->step(step_report(6));
  piped.console->step(step_report(1605));
  RunEnd end;
  end.steps = 1605;
  end.tokens = 3287040;
  end.skipped_steps = 1;
  end.seconds = 80.25;
  end.weights_xxh3 = "00112233445566aa";
  end.peak_bytes_max = 314572800 * 100ull / 102;
  end.median_step_seconds = 0.05;
  end.planned_peak_bytes = 314572800;
  end.planned_step_seconds = 0.0485;
  piped.console->end(end);
  EXPECT_EQ(
      piped.text(),
      "run first: gpt2, 12.3M parameters, 2 ranks\n"
      "1605 steps of 8 sequences of 256 tokens, 4 in a micro-batch\n"
      "plan KRRRRK  full\n"
      "planned  peak 300.0 MiB  step 52.0 ms\n"
      "evaluation 0/1605  loss 2.600  51.2k tokens in 1.2 s\n"
      "step    1/1605  loss 2.134  41.0k tok/s  peak 312.4 MiB  exposed 3 %  ETA 1 min 20 s\n"
      "step    2/1605  loss 2.134  41.0k tok/s  peak 312.4 MiB  exposed 3 %  ETA 1 min 20 s\n"
      "step    4/1605  loss 2.134  41.0k tok/s  peak 312.4 MiB  exposed 3 %  ETA 1 min 20 s\n"
      "evaluation 4/1605  loss 2.500  51.2k tokens in 1.2 s\n"
      "step 5 is skipped: non_finite, gradient norm nan, samples 32 to 39\n"
      "step    6/1605  loss 2.134  41.0k tok/s  peak 312.4 MiB  exposed 3 %  ETA 6 min 40 s  skipped 1 non_finite\n"
      "step 1605/1605  loss 2.134  41.0k tok/s  peak 312.4 MiB  exposed 3 %  skipped 1 non_finite\n"
      "done: 1605 steps, 3.3M tokens in 1 min 20 s: 41.0k tok/s, 20.5k per rank\n"
      "skipped updates: 1 non_finite\n"
      "peak       planned 300.0 MiB  measured 294.1 MiB  miss +2.0 %\n"
      "step time  planned 48.5 ms  measured 50.0 ms  miss -3.0 %\n"
      "weights_xxh3 00112233445566aa\n");
}

TEST(Console, WithoutAPredictionOnlyTheMeasuredIsShown) {
  Piped piped(1);
  RunEnd end;
  end.steps = 2;
  end.peak_bytes_max = 1 << 20;
  end.median_step_seconds = 0.25;
  end.weights_xxh3 = "00";
  piped.console->end(end);
  EXPECT_EQ(piped.text(),
            "done: 2 steps, 0 tokens in 0 s: 0 tok/s, 0 per rank\n"
            "peak       measured 1.0 MiB\n"
            "step time  measured 250.0 ms\n"
            "weights_xxh3 00\n");
}

TEST(Console, RateFollowsTheLatestSteps) {
  Piped piped(1);
  piped.console->start(small_run(1000));
  StepReport slow = step_report(1);
  slow.step_seconds = 100;
  piped.console->step(slow);
  for (int64_t step = 2; step <= 17; ++step) piped.console->step(step_report(step));
  const std::string text = piped.text();
  EXPECT_NE(text.find("step   16/1000  loss 2.134  325 tok/s"), std::string::npos) << text;
  EXPECT_NE(text.find("step   17/1000  loss 2.134  41.0k tok/s"), std::string::npos) << text;
}

TEST(Console, ASlowRankIsNamed) {
  Piped piped(1);
  piped.console->start(small_run(1000));
  StepReport step = step_report(1);
  step.rank_compute = {0.02, 0.02, 0.04, 3};
  piped.console->step(step);
  const std::string text = piped.text();
  EXPECT_NE(text.find("  rank 3 computes 2.0 times the median\n"), std::string::npos) << text;
}

// A pseudo-terminal of `columns`; returns all that the console writes while `play` runs.
template <typename Play>
std::string on_terminal(unsigned short columns, const Play& play) {
  const int master = posix_openpt(O_RDWR | O_NOCTTY);
  EXPECT_EQ(grantpt(master), 0);
  EXPECT_EQ(unlockpt(master), 0);
  const int terminal = open(ptsname(master), O_RDWR | O_NOCTTY);
  winsize size{};
  size.ws_col = columns;
  size.ws_row = 24;
  EXPECT_EQ(ioctl(terminal, TIOCSWINSZ, &size), 0);
  std::string text;
  std::thread reader([&] {  // ends when the last writer has closed
    char buffer[4096];
    for (ssize_t n = 0; (n = read(master, buffer, sizeof buffer)) > 0;) text.append(buffer, static_cast<size_t>(n));
  });
  std::FILE* out = fdopen(terminal, "w");
  {
    const auto console = make_console(out, 10);
    play(*console);
  }
  std::fclose(out);
  reader.join();
  close(master);
  return text;
}

size_t count(const std::string& text, const std::string& what) {
  size_t found = 0;
  for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++found;
  return found;
}

TEST(Console, TerminalLineIsDrawnInPlaceAndCutToTheWidth) {
  const std::string text = on_terminal(30, [](Sink& console) {
    console.start(small_run(600));
    console.step(step_report(1));
    console.step(step_report(600));
  });
  const size_t first = text.find("\rstep ");
  ASSERT_NE(first, std::string::npos) << text;
  EXPECT_EQ(text.substr(first),
            "\rstep   1/600  loss 2.134  41.\x1b[K"  // 29 characters: the last column stays empty
            "\rstep 600/600  loss 2.134  41.\x1b[K"
            "\r\n");
}

TEST(Console, TerminalIsRedrawnTenTimesASecondAtMost) {
  const std::string text = on_terminal(120, [](Sink& console) {
    console.start(small_run(100000));
    for (int64_t step = 1; step <= 1000; ++step) console.step(step_report(step));  // a few milliseconds
    std::this_thread::sleep_for(std::chrono::milliseconds(110));
    console.step(step_report(1001));
  });
  EXPECT_GE(count(text, "\rstep "), 2u);
  EXPECT_LE(count(text, "\rstep "), 20u);
  EXPECT_EQ(count(text, "1001/100000"), 1u) << text;
}

TEST(Console, EvaluationTakesTheStepLinesPlaceOnATerminal) {
  setenv("NO_COLOR", "1", 1);
  const auto play = [](Sink& console) {
    console.step(step_report(1));
    console.evaluation({});
  };
  const std::string plain = on_terminal(120, play);
  EXPECT_NE(plain.find("\r\x1b[Kevaluation 0/0  loss 0.000  0 tokens in 0 s\r\n"), std::string::npos) << plain;
  unsetenv("NO_COLOR");
  const std::string coloured = on_terminal(120, play);
  EXPECT_NE(coloured.find("\x1b[36mevaluation 0/0"), std::string::npos) << coloured;
}

}  // namespace
}  // namespace reprise
