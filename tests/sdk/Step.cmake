# For scripts that do as a stranger would, in FOLDER.
cmake_minimum_required(VERSION 3.20)

# Runs a command; what it printed is shown when it fails.
function(step what)
  execute_process(COMMAND ${ARGN} WORKING_DIRECTORY ${FOLDER} RESULT_VARIABLE code OUTPUT_VARIABLE out ERROR_VARIABLE err)
  if(NOT code EQUAL 0)
    message(FATAL_ERROR "${what}: ${code}\n${out}${err}")
  endif()
endfunction()

# Members of the results.json that a run left in FOLDER/run: name, number, name, number...
function(expect_results)
  file(READ ${FOLDER}/run/results.json results)
  while(ARGN)
    list(POP_FRONT ARGN key value)
    string(JSON found GET "${results}" ${key})
    if(NOT found EQUAL value)
      message(FATAL_ERROR "${key} is ${found}, should be ${value}")
    endif()
  endwhile()
endfunction()
