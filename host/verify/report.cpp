// The report as text, JSON and JUnit.
#include <iomanip>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "report/json_text.hpp"
#include "verify/rules.hpp"
#include "verify/verify.hpp"

namespace esp::verify {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kVerdicts[] = {"passed", "failed", "skipped"};

std::string repro(const Report& report, const TestResult& result) {
  std::string line = "host verify --plugin=" + report.options.plugin;
  if (!report.options.component.empty()) line += ":" + report.options.component;
  line += " --repro='" + result.group + "/" + result.name + "@" + std::to_string(report.options.seed) + "'";
  if (report.options.max_world != VerifyOptions::kUsualWorld) {
    line += " --world=" + std::to_string(report.options.max_world);
  }
  if (report.options.limit_s != VerifyOptions::kUsualLimit) {
    line += " --timeout=" + std::to_string(report.options.limit_s);
  }
  if (report.options.own_numerics) line += " --numerics=own";
  std::string values;
  for (const auto& [key, value] : report.options.values) values += (values.empty() ? "" : ",") + key + "=" + value;
  if (!values.empty()) line += " --with='" + values + "'";
  return line;
}

std::string last_line(const Report& report) {
  std::ostringstream text;
  text << "verify: " << report.count(Verdict::kPassed) << " passed, " << report.count(Verdict::kFailed) << " failed, "
       << report.count(Verdict::kSkipped) << " skipped · " << report.library << ' ' << report.version << " · sdk "
       << ESP_ABI_MAJOR << '.' << ESP_ABI_MINOR << " (" << std::hex << ESP_SDK_HASH << std::dec << ") · seed "
       << report.options.seed;
  return text.str();
}

std::string xml(const std::string& text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '&':
        out += "&amp;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
    }
  }
  return out;
}

void print_finding(const Finding& finding, std::ostream& out) {
  const Rule& rule = find_rule(finding.rule);
  out << "    " << finding.rule << "  " << finding.what << "\n             where: " << text_of(finding.where);
  if (finding.times > 1) out << " (and " << finding.times - 1 << " times more)";
  out << "\n             rule:  " << rule.demand << "\n             do:    " << rule.advice << '\n';
}

}  // namespace

void print_text(const Report& report, std::ostream& out) {
  std::map<std::string, size_t> passed;
  for (const TestResult& result : report.results) {
    if (result.verdict == Verdict::kPassed) ++passed[result.group];
  }
  std::string group;
  std::set<std::string> broken;
  for (const TestResult& result : report.results) {
    if (result.group != group) out << (group = result.group) << ": " << passed[group] << " passed\n";
    if (result.verdict == Verdict::kSkipped) out << "  skipped " << result.name << ": " << result.reason << '\n';
    for (const std::string& note : result.notes) out << "  " << result.name << ": " << note << '\n';
    if (result.verdict != Verdict::kFailed) continue;
    out << "  FAILED " << result.name << '\n';
    for (const Finding& finding : result.findings) {
      broken.insert(finding.rule);
      print_finding(finding, out);
    }
    out << "    repeat: " << repro(report, result) << '\n';
  }
  if (!broken.empty()) out << "rules broken:";
  for (const std::string& rule : broken) out << ' ' << rule;
  if (!broken.empty()) out << '\n';
  out << last_line(report) << '\n';
}

std::string to_json(const Report& report) {
  Json json{{"library", report.library},
            {"version", report.version},
            {"seed", report.options.seed},
            {"passed", report.count(Verdict::kPassed)},
            {"failed", report.count(Verdict::kFailed)},
            {"skipped", report.count(Verdict::kSkipped)},
            {"summary", last_line(report)},
            {"tests", Json::array()}};
  for (const TestResult& result : report.results) {
    Json test{{"group", result.group},
              {"name", result.name},
              {"verdict", kVerdicts[static_cast<int>(result.verdict)]},
              {"seconds", result.seconds}};
    if (result.verdict == Verdict::kSkipped) test["reason"] = result.reason;
    if (result.verdict == Verdict::kFailed) test["repeat"] = repro(report, result);
    if (!result.notes.empty()) test["notes"] = result.notes;
    for (const Finding& finding : result.findings) {
      const Rule& rule = find_rule(finding.rule);
      test["findings"].push_back({{"rule", finding.rule},
                                  {"what", finding.what},
                                  {"where", text_of(finding.where)},
                                  {"times", finding.times},
                                  {"demand", rule.demand},
                                  {"advice", rule.advice}});
    }
    json["tests"].push_back(std::move(test));
  }
  return json_text(json, 2);
}

std::string to_junit(const Report& report) {
  std::ostringstream text;
  text << "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"" << xml(report.library) << "\" tests=\""
       << report.results.size() << "\" failures=\"" << report.count(Verdict::kFailed) << "\" skipped=\""
       << report.count(Verdict::kSkipped) << "\">\n";
  for (const TestResult& result : report.results) {
    text << "  <testcase classname=\"" << xml(result.group) << "\" name=\"" << xml(result.name) << "\" time=\""
         << result.seconds << "\">";
    if (result.verdict == Verdict::kSkipped) text << "<skipped message=\"" << xml(result.reason) << "\"/>";
    for (const Finding& finding : result.findings) {
      text << "<failure type=\"" << finding.rule << "\" message=\"" << xml(finding.what) << "\">"
           << xml(text_of(finding.where) + "; " + find_rule(finding.rule).advice) << "</failure>";
    }
    if (!result.notes.empty()) {
      text << "<system-out>";
      for (const std::string& note : result.notes) text << xml(note) << '\n';
      text << "</system-out>";
    }
    text << "</testcase>\n";
  }
  text << "</testsuite>\n";
  return text.str();
}

}  // namespace esp::verify
