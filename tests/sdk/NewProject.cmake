# cmake -D HOST=.. -D PREFIX=<SDK> -D KIND=strategy -D COMPILER=clang++ -D CTEST=ctest -D FOLDER=.. -P NewProject.cmake
# As a stranger would: `host plugins new`, build with the SDK alone, run the project's tests, inspect, train on two ranks.
include(${CMAKE_CURRENT_LIST_DIR}/Step.cmake)

file(REMOVE_RECURSE ${FOLDER})
file(MAKE_DIRECTORY ${FOLDER})
step("plugins new" ${HOST} plugins new ${KIND} my-${KIND} project)
execute_process(COMMAND ${HOST} plugins new ${KIND} my-${KIND} project WORKING_DIRECTORY ${FOLDER} RESULT_VARIABLE again
  OUTPUT_QUIET ERROR_QUIET)
if(NOT again EQUAL 2)
  message(FATAL_ERROR "plugins new into a folder that is not empty: exit code ${again}, should be 2")
endif()
set(FOLDER ${FOLDER}/project)
step(configure ${CMAKE_COMMAND} -S . -B build -DCMAKE_PREFIX_PATH=${PREFIX} -DCMAKE_CXX_COMPILER=${COMPILER}
  "-DCMAKE_CXX_FLAGS=-Wall -Wextra -Werror" -DEspalier_LIBTORCH=${LIBTORCH})
step(build ${CMAKE_COMMAND} --build build)
step(test ${CTEST} --test-dir build --output-on-failure)
step(inspect ${HOST} plugins inspect ./build/libmy_${KIND}.so --json)
step(schema ${HOST} plugins schema ./build/libmy_${KIND}.so)
step(run ${HOST} run -c run.toml --run.threads=1 --out=run)
expect_results(world_size 2 train_samples 192)
