#include "report/evaluation_table.hpp"

#include <algorithm>

#include "report/number_text.hpp"
#include "report/table.hpp"

namespace esp {

void print_evaluation(std::ostream& out, const runtime::StartReport& start, const runtime::Evaluation& evaluation) {
  KeyValueTable table;
  table.add("model", start.model_name);
  table.add("data", start.data_name);
  table.add("split", evaluation.split);
  table.add("loss", fixed(evaluation.loss, 6));
  table.add("accuracy", share_text(evaluation.correct, evaluation.samples));
  const size_t classes = std::min(evaluation.class_samples.size(), evaluation.class_correct.size());
  for (size_t i = 0; i < classes; ++i) {
    const std::string name = i < start.classes.size() ? start.classes[i] : "class " + std::to_string(i);
    table.add("  " + name, share_text(evaluation.class_correct[i], evaluation.class_samples[i]));
  }
  table.print(out);
}

}  // namespace esp
