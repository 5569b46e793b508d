# The Beans dataset and draw_leaves.
find_package(ZLIB REQUIRED)

espalier_test(vit_beans_test
  SOURCES beans_dataset_test.cpp beans_draw_test.cpp beans_fixture.cpp beans_image_test.cpp beans_source_test.cpp
    beans_zip_test.cpp scratch.cpp
  LIBRARIES espalier_beans ZLIB::ZLIB)
target_compile_definitions(vit_beans_test PRIVATE DRAW_LEAVES="$<TARGET_FILE:draw_leaves>")
add_dependencies(vit_beans_test draw_leaves)
