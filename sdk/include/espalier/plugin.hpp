// Registration: components, the note in the file, the entry and its negotiation, all out of one line:
//
//   ESP_PLUGIN("org.example.localsgd", "1.0.0",
//              esp::strategy<LocalSgd>("local-sgd", "local steps, weights averaged now and then", ESP_CAP_CPU))
//
// Once per library, at file scope. A component class is constructed as C(esp::Host&, const C::Options&), or as
// C(esp::Host&) when it has no Options; the Host outlives it.
#ifndef ESPALIER_PLUGIN_HPP
#define ESPALIER_PLUGIN_HPP

#include <deque>
#include <espalier/host.hpp>
#include <espalier/options.hpp>
#include <memory>
#include <vector>

namespace esp {
inline namespace v1_0 ESP_HIDDEN {

// One component as ESP_PLUGIN is told of it; made by esp::strategy, esp::model, esp::dataset.
struct Registration {
  uint32_t kind;
  const char* id;       // [a-z][a-z0-9_-]*
  const char* summary;  // one line
  uint64_t caps;        // ESP_CAP_ bits: what is possible
  Slice<const esp_option* const> (*options)();
  esp_status (*create)(const esp_host*, const esp_config*, void** self, esp_error*);
  const void* (*table)(const char* table_id);
};

namespace detail {

template <class C, class = void>
struct OptionsOf {
  using Type = NoOptions;
  static constexpr bool kHas = false;
};
template <class C>
struct OptionsOf<C, std::void_t<typename C::Options>> {
  using Type = typename C::Options;
  static constexpr bool kHas = true;
};

// A component with the host's services behind it: what `self` points to. The component goes first.
template <class C>
class Instance {
 public:
  Instance(const esp_host& host, const esp_config& config) : host_(host, config), component_(make(host_, config)) {}

  static C& of(void* self) { return *static_cast<Instance*>(self)->component_; }

  static esp_status create(const esp_host* host, const esp_config* config, void** self, esp_error* error) noexcept {
    // NOLINTNEXTLINE(bugprone-unhandled-exception-at-new): guarded catches it
    return guarded("create", error, [&] { *self = new Instance(*host, *config); });
  }
  static void destroy(void* self) noexcept { delete static_cast<Instance*>(self); }

 private:
  static std::unique_ptr<C> make(Host& host, const esp_config& config) {
    if constexpr (OptionsOf<C>::kHas) {
      return std::make_unique<C>(host, schema_of<typename C::Options>().read(config));
    } else {
      return std::make_unique<C>(host);
    }
  }

  Host host_;
  std::unique_ptr<C> component_;
};

template <class C>
Slice<const esp_option* const> options_of() {
  return schema_of<typename OptionsOf<C>::Type>().options();
}

template <class C>
constexpr Registration registration(uint32_t kind, const char* id, const char* summary, uint64_t caps,
                                    const void* (*table)(const char*)) {
  return {kind, id, summary, caps, &options_of<C>, &Instance<C>::create, table};
}

// What the entry hands out.
class Library {
 public:
  Library(const char* id, const char* version, const Registration* components, std::size_t n) {
    for (std::size_t i = 0; i < n; ++i) add(components[i], version);
    for (const esp_component& component : components_) pointers_.push_back(&component);
    plugin_.struct_size = sizeof plugin_;
    plugin_.abi_minor_built = ESP_NOTE_MINOR_BUILT;
    plugin_.abi_minor_needed = ESP_NOTE_MINOR_NEEDED;
    plugin_.n_components = static_cast<uint32_t>(n);
    plugin_.components = pointers_.data();
    plugin_.id = id;
    plugin_.version = version;
  }
  Library(const Library&) = delete;
  Library& operator=(const Library&) = delete;

  const esp_plugin* plugin() const { return &plugin_; }

 private:
  void add(const Registration& given, const char* version) {
    const auto options = given.options();
    esp_component component{};
    component.struct_size = sizeof component;
    component.kind = given.kind;
    component.id = given.id;
    component.version = version;
    component.summary = given.summary;
    component.caps = given.caps;
    component.options = options.data();
    component.n_options = static_cast<uint32_t>(options.size());
    component.create = given.create;
    component.table = given.table;
    components_.push_back(component);
  }

  std::deque<esp_component> components_;
  std::vector<const esp_component*> pointers_;
  esp_plugin plugin_{};
};

// The versions a library was built with; see esp_note.
struct Built {
  uint32_t major;
  uint32_t minor;
  uint32_t minor_needed;
  uint64_t sdk_hash;
  bool draft;  // the ABI is not frozen: host and plugin must come from the same headers
};

// Throws Failure (ESP_E_ABI) when the host that says hello cannot work with a library built so.
inline void negotiate(const esp_hello* hello, const Built& built) {
  if (hello == nullptr || !ESP_HAS(esp_hello, hello, sdk_hash)) {
    fail(ESP_E_ABI, "the host's hello is shorter than that of ABI ", built.major, ".0");
  }
  if (hello->abi_major != built.major) {
    fail(ESP_E_ABI, "built for ABI ", built.major, ", the host speaks ", hello->abi_major);
  }
  if (hello->abi_minor < built.minor_needed) {
    fail(ESP_E_ABI, "needs ABI ", built.major, ".", built.minor_needed, ", the host has ", hello->abi_major, ".",
         hello->abi_minor, "; update the host");
  }
  if (hello->abi_minor_floor > built.minor) {
    fail(ESP_E_ABI, "built for ABI ", built.major, ".", built.minor, ", the host honours ", hello->abi_major, ".",
         hello->abi_minor_floor, " and up; rebuild the plugin");
  }
  if (built.draft && hello->sdk_hash != built.sdk_hash) {
    fail(ESP_E_ABI, "the ABI is a draft and the host was built from another one; rebuild the plugin with its headers");
  }
}

inline esp_status enter(const esp_hello* hello, const esp_plugin** out, esp_error* error,
                        const Library& (*library)()) noexcept {
  return guarded(ESP_ENTRY_SYMBOL, error, [&] {
    negotiate(hello,
              {ESP_NOTE_MAJOR, ESP_NOTE_MINOR_BUILT, ESP_NOTE_MINOR_NEEDED, ESP_NOTE_HASH, ESP_REVISION[0] == '0'});
    *out = library().plugin();
  });
}

template <std::size_t N>
constexpr std::size_t put(char (&out)[N], std::size_t at, const char* text) {
  for (; *text != '\0'; ++text, ++at) {
    if (at + 1 >= N) throw "a text of ESP_PLUGIN is too long for the note in the file";
    out[at] = *text;
  }
  return at;
}

constexpr const char* kind_name(uint32_t kind) {
  return kind == ESP_STRATEGY ? "strategy:" : kind == ESP_MODEL ? "model:" : "dataset:";
}

// The note, at compile time: it must stand in the file as bytes.
template <std::size_t N>
constexpr esp_note_record note_record(const char* id, const char* version, const Registration (&components)[N]) {
  esp_note_record record{};
  record.name_size = sizeof(ESP_NOTE_NAME);
  record.desc_size = sizeof(esp_note);
  record.type = ESP_NOTE_TYPE;
  put(record.name, 0, ESP_NOTE_NAME);
  esp_note& note = record.desc;
  note.note_version = 1;
  note.abi_major = ESP_NOTE_MAJOR;
  note.abi_minor_built = ESP_NOTE_MINOR_BUILT;
  note.abi_minor_needed = ESP_NOTE_MINOR_NEEDED;
  note.sdk_hash = ESP_NOTE_HASH;
  note.torch_tier = ESP_TORCH_TIER;
  put(note.plugin_id, 0, id);
  put(note.plugin_version, 0, version);
  put(note.torch_stamp, 0, ESP_TORCH_STAMP);
  put(note.cuda, 0, ESP_CUDA_TEXT);
  put(note.compiler, 0, ESP_COMPILER_TEXT);
  std::size_t at = 0;
  for (std::size_t i = 0; i < N; ++i) {
    if (i > 0) at = put(note.components, at, " ");
    at = put(note.components, at, kind_name(components[i].kind));
    at = put(note.components, at, components[i].id);
  }
  return record;
}

// Defines has_member_<name><T>: whether T has a member of that name, whatever its type. So a hook with a wrong
// signature is an error of the compiler and never a hook that is silently not called.
// NOLINTBEGIN(bugprone-macro-parentheses): the argument is the name of a member
#define ESP_HAS_MEMBER(name)                                                        \
  template <class T>                                                                \
  class HasMember_##name {                                                          \
    static_assert(!std::is_final_v<T>, "a component class must not be final");      \
    struct Other {                                                                  \
      int name;                                                                     \
    };                                                                              \
    struct Both : T, Other {};                                                      \
    template <class U>                                                              \
    static char ambiguous(decltype(&U::name)*);                                     \
    template <class U>                                                              \
    static long ambiguous(...);                                                     \
                                                                                    \
   public:                                                                          \
    static constexpr bool value = sizeof(ambiguous<Both>(nullptr)) == sizeof(long); \
  }
// NOLINTEND(bugprone-macro-parentheses)

}  // namespace detail
}  // namespace ESP_HIDDEN
}  // namespace esp

#define ESP_PLUGIN(plugin_id, plugin_version, ...)                                                          \
  namespace {                                                                                               \
  constexpr ::esp::Registration esp_components[] = {__VA_ARGS__};                                           \
  __attribute__((section(".note.espalier"), used, aligned(8))) constexpr esp_note_record esp_note_in_file = \
      ::esp::detail::note_record(plugin_id, plugin_version, esp_components);                                \
  }                                                                                                         \
  extern "C" ESP_EXPORT esp_status esp_plugin_entry_v1(const esp_hello* hello, const esp_plugin** out,      \
                                                       esp_error* error) {                                  \
    return ::esp::detail::enter(hello, out, error, []() -> const ::esp::detail::Library& {                  \
      static const ::esp::detail::Library library(plugin_id, plugin_version, esp_components,                \
                                                  sizeof esp_components / sizeof esp_components[0]);        \
      return library;                                                                                       \
    });                                                                                                     \
  }                                                                                                         \
  static_assert(true, "a semicolon may follow")

#endif  // ESPALIER_PLUGIN_HPP
