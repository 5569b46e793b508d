// What a model is put through, one function a test. Each throws Skip where the model refuses what is asked.
#pragma once

#include "verify/model_trial.hpp"

namespace esp::verify {

void describes_itself(const ModelSubject& subject, Findings& findings);
void plans(const ModelSubject& subject, Findings& findings);
void initial_values_are_a_function(const ModelSubject& subject, Findings& findings);
void trains(const ModelSubject& subject, uint32_t precision, Findings& findings);
void computes_alike(const ModelSubject& subject, uint32_t precision, Findings& findings);
void heeds_write_modes(const ModelSubject& subject, Findings& findings);
void follows_binds(const ModelSubject& subject, Findings& findings);
void evaluates(const ModelSubject& subject, Findings& findings);
void infers(const ModelSubject& subject, Findings& findings);
void ignores_padding(const ModelSubject& subject, Findings& findings);
void scales_by_the_seed(const ModelSubject& subject, Findings& findings);
void heeds_passes(const ModelSubject& subject, Findings& findings);
void recomputes(const ModelSubject& subject, uint32_t level, Findings& findings);
void freezes(const ModelSubject& subject, Findings& findings);
void keeps_to_its_plan(const ModelSubject& subject, uint32_t level, Findings& findings);
void saves_and_loads(const ModelSubject& subject, Findings& findings);
void repeats_itself(const ModelSubject& subject, Findings& findings);
void leaves_nothing_behind(const ModelSubject& subject, Findings& findings);
void survives_refused_memory(const ModelSubject& subject, Findings& findings);
// Differences of the loss against the gradients of a unit's parameters, in fp32.
void differentiates(const ModelSubject& subject, uint32_t unit, Findings& findings);

}  // namespace esp::verify
