# cmake -D SOURCE=<tree> -D FOLDER=.. -P CheckLastTag.cmake: today's layout has only grown since the last tag sdk-*.
execute_process(COMMAND git -C ${SOURCE} describe --tags --abbrev=0 --match sdk-* OUTPUT_VARIABLE tag
  OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE none)
if(none)
  message("skipped: no version of the SDK was tagged (sdk-1.N) yet")
  return()
endif()
file(MAKE_DIRECTORY ${FOLDER})
execute_process(COMMAND git -C ${SOURCE} show ${tag}:sdk/abi/1.0.layout OUTPUT_FILE ${FOLDER}/${tag}.layout COMMAND_ERROR_IS_FATAL ANY)
execute_process(COMMAND ${SOURCE}/sdk/abi/check_prefix.sh ${FOLDER}/${tag}.layout ${SOURCE}/sdk/abi/1.0.layout
  RESULT_VARIABLE changed OUTPUT_VARIABLE text)
if(changed)
  message(FATAL_ERROR "the border changed since ${tag} in what plugins rely on:\n${text}")
endif()
