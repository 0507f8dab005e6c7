#include "launcher/job.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>

namespace reprise {
namespace {

class JobTest : public testing::Test {
 protected:
  void SetUp() override {
    for (const char* name :
         {"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "SLURM_NTASKS", "REPRISE_ALLOW_ROOT"}) {
      unsetenv(name);
    }
  }
  static void set(const char* name, const char* value) { setenv(name, value, 1); }
};

TEST_F(JobTest, AloneWithoutALauncher) {
  set("SLURM_NTASKS", "8");  // a batch script's environment, not a rank's
  const Job job = job_from_environment();
  EXPECT_FALSE(job.is_launched);
  EXPECT_EQ(job.rank, 0);
  EXPECT_EQ(job.ranks, 1);
  EXPECT_EQ(refusal_of_root(job), "");
}

TEST_F(JobTest, RankOfMpirunAndOfSrun) {
  set("PMIX_RANK", "2");
  set("SLURM_NTASKS", "8");
  EXPECT_TRUE(job_from_environment().is_launched);
  EXPECT_EQ(job_from_environment().rank, 2);
  EXPECT_EQ(job_from_environment().ranks, 8);
  set("OMPI_COMM_WORLD_RANK", "1");
  set("OMPI_COMM_WORLD_SIZE", "4");
  EXPECT_EQ(job_from_environment().rank, 1);
  EXPECT_EQ(job_from_environment().ranks, 4);
}

TEST_F(JobTest, RanksAsRootOnlyWhenAsked) {
  set("OMPI_COMM_WORLD_RANK", "0");
  const Job job = job_from_environment();
  EXPECT_EQ(refusal_of_root(job).empty(), geteuid() != 0);
  set("REPRISE_ALLOW_ROOT", "yes");
  EXPECT_EQ(refusal_of_root(job).empty(), geteuid() != 0);
  set("REPRISE_ALLOW_ROOT", "1");
  EXPECT_EQ(refusal_of_root(job), "");
}

}  // namespace
}  // namespace reprise
