// Reads the C headers of the SDK and writes a C program that prints what the border looks like to a compiler: size and
// alignment of every struct, place and declaration of every field, order of every table, value of every constant.
//
// usage: layout_generator include_folder output.c

#include <algorithm>
#include <fstream>
#include <iostream>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <vector>

namespace {

const std::vector<std::string> kHeaders = {"abi.h", "view.h", "host.h", "strategy.h", "model.h", "dataset.h"};

// Counted up when something changes its meaning but not its looks, until ABI 1.0 is frozen.
constexpr int kDraft = 1;

// Not part of the layout: the hash of the layout itself, and texts that depend on compiler and build.
const std::set<std::string> kLeftOut = {"ESP_SDK_HASH",    "ESP_NOTE_HASH", "ESP_COMPILER_TEXT",
                                        "ESP_TORCH_STAMP", "ESP_CUDA_TEXT", "ESP_EXPORT"};

struct Field {
  std::string name, declaration;
};

struct Struct {
  std::string name;
  std::vector<Field> fields;
};

std::string read(const std::string& path) {
  std::ifstream in(path);
  if (!in) throw std::runtime_error("cannot read " + path);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

std::string without_comments(const std::string& text) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    if (text.compare(at, 2, "/*") == 0) {
      at = text.find("*/", at) + 2;
    } else {
      out += text[at++];
    }
  }
  return out;
}

std::string one_line(const std::string& text) {
  std::string line = std::regex_replace(text, std::regex("\\s+"), " ");
  const size_t first = line.find_first_not_of(' '), last = line.find_last_not_of(' ');
  return first == std::string::npos ? "" : line.substr(first, last - first + 1);
}

// The declarator's name: of a pointer to a function, else the last identifier in front of any [].
std::string declared_name(const std::string& declaration) {
  std::smatch match;
  if (std::regex_search(declaration, match, std::regex("\\(\\*(\\w+)\\)"))) return match[1];
  if (std::regex_search(declaration, match, std::regex("(\\w+)\\s*(\\[[^\\]]*\\])*$"))) return match[1];
  throw std::runtime_error("no name in: " + declaration);
}

// Splits at `separator` outside of any brackets.
std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts(1);
  int depth = 0;
  for (char c : text) {
    depth += (c == '{' || c == '(') - (c == '}' || c == ')');
    if (c == separator && depth == 0) {
      parts.emplace_back();
    } else {
      parts.back() += c;
    }
  }
  return parts;
}

std::vector<Field> fields_of(const std::string& body) {
  std::vector<Field> fields;
  for (const std::string& part : split(body, ';')) {
    const std::string declaration = one_line(part);
    if (declaration.empty()) continue;
    const std::vector<std::string> names = split(declaration, ',');
    fields.push_back({declared_name(names.front()), one_line(names.front())});
    for (size_t i = 1; i < names.size(); ++i) {  // "uint32_t a, b": all of one plain type
      const std::string type = declaration.substr(0, declaration.find(fields.back().name));
      fields.push_back({one_line(names[i]), one_line(type + names[i])});
    }
  }
  return fields;
}

std::vector<Struct> structs_of(const std::string& text) {
  std::vector<Struct> structs;
  const std::regex head("typedef struct (esp_\\w+) \\{");
  for (std::sregex_iterator it(text.begin(), text.end(), head), end; it != end; ++it) {
    const std::string name = (*it)[1];
    const size_t begin = static_cast<size_t>(it->position() + it->length());
    const size_t stop = text.find("} " + name + ";", begin);
    if (stop == std::string::npos) throw std::runtime_error("struct " + name + " does not end");
    structs.push_back({name, fields_of(text.substr(begin, stop - begin))});
  }
  return structs;
}

// Types that are no struct, and functions: their text is all there is.
std::vector<std::string> declarations_of(const std::string& text) {
  std::vector<std::string> out;
  const std::regex line("(^|\\n)(typedef (?!struct \\w+ \\{)[^;{]*;|ESP_EXPORT [^;]*;)");
  for (std::sregex_iterator it(text.begin(), text.end(), line), end; it != end; ++it) {
    out.push_back(one_line((*it)[2]));
  }
  return out;
}

std::vector<std::string> constants_of(const std::string& text) {
  std::vector<std::string> names;
  const std::regex define("\\n\\s*#\\s*define (ESP_\\w+)[ \\t]+(?=\\S)");
  for (std::sregex_iterator it(text.begin(), text.end(), define), end; it != end; ++it) {
    const std::string name = (*it)[1];
    if (kLeftOut.count(name) == 0 && std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
  }
  return names;
}

std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (char c : text) out += (c == '"' || c == '\\' ? std::string("\\") : std::string()) + c;
  return out + "\"";
}

void write_program(std::ostream& out, const std::string& folder) {
  out << "#include <stdio.h>\n#include <string.h>\n";
  for (const std::string& header : kHeaders) out << "#include <espalier/" << header << ">\n";
  out << "#ifdef __cplusplus\n#define ALIGN(T) alignof(T)\n#else\n#define ALIGN(T) _Alignof(T)\n#endif\n"
         "#define TEXT2(x) #x\n#define TEXT(x) TEXT2(x)\n"
         "static void constant(const char* name, const char* text, unsigned long long value) {\n"
         "  if (strchr(text, '\"')) printf(\"  %s %s\\n\", name, text);\n"
         "  else printf(\"  %s 0x%llx\\n\", name, value);\n}\n"
         "int main(void) {\n"
         "  puts(\"draft "
      << kDraft << "\");\n";
  for (const std::string& header : kHeaders) {
    const std::string text = without_comments(read(folder + "/espalier/" + header));
    out << "  puts(" << quoted(header) << ");\n";
    for (const std::string& name : constants_of(text)) {
      out << "  constant(" << quoted(name) << ", TEXT(" << name << "), (unsigned long long)(" << name << "));\n";
    }
    for (const std::string& declaration : declarations_of(text))
      out << "  puts(" << quoted("  " + declaration) << ");\n";
    for (const Struct& item : structs_of(text)) {
      out << "  printf(\"  struct " << item.name << ": size %u align %u\\n\", (unsigned)sizeof(" << item.name
          << "), (unsigned)ALIGN(" << item.name << "));\n";
      for (const Field& field : item.fields) {
        out << "  printf(\"    %3u +%-3u %s\\n\", (unsigned)offsetof(" << item.name << ", " << field.name
            << "), (unsigned)sizeof(((" << item.name << "*)0)->" << field.name << "), " << quoted(field.declaration)
            << ");\n";
      }
    }
  }
  out << "  return 0;\n}\n";
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: layout_generator include_folder output.c\n";
    return 2;
  }
  try {
    std::ofstream out(argv[2]);
    write_program(out, argv[1]);
    return out.flush() ? 0 : 1;
  } catch (const std::exception& error) {
    std::cerr << "layout_generator: " << error.what() << "\n";
    return 1;
  }
}
