#include "launcher/loss_plot.h"

#include "monitoring/svg_plot.h"
#include "training/durable_file.h"

namespace reprise {

namespace {

class LossPlot final : public Sink {
 public:
  explicit LossPlot(std::string path) : path_(std::move(path)) {}

  void start(const RunStart& start) override { run_ = start.run; }
  void step(const StepReport& report) override {
    train_.x.push_back(static_cast<double>(report.step));
    train_.y.push_back(report.loss);
  }
  void evaluation(const EvaluationReport& report) override {
    held_out_.x.push_back(static_cast<double>(report.step));
    held_out_.y.push_back(report.loss);
    draw();
  }
  void end(const RunEnd&) override { draw(); }

 private:
  void draw() const {
    write_durably(path_, draw_plot({.title = "Loss of " + run_,
                                    .x_title = "step",
                                    .y_title = "loss (nats per token)",
                                    .series = {train_, held_out_}}));
  }

  const std::string path_;
  std::string run_;
  Series train_{.name = "training"};
  Series held_out_{.name = "held-out text", .marks = true};
};

}  // namespace

std::unique_ptr<Sink> make_loss_plot(const std::string& path) { return std::make_unique<LossPlot>(path); }

}  // namespace reprise
