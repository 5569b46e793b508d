# The training loop and the library's entry, compiled into libespalier_runtime.so.
set(ESPALIER_RUNTIME_TRAIN_SOURCES
  train/component_instance.cpp train/energy_account.cpp train/evaluator.cpp train/export.cpp train/input_buffers.cpp
  train/input_pipeline.cpp train/learning_rate.cpp train/loss_meter.cpp train/memory_profile.cpp train/model_folder.cpp
  train/model_view.cpp train/precision.cpp train/sample_order.cpp train/session.cpp train/session_memory.cpp
  train/shard_state.cpp train/step_driver.cpp train/trainer.cpp device/cuda_library.cpp plan/absent_ranks.cpp
  plan/counting_device.cpp plan/counting_memory.cpp plan/dry_run.cpp runtime.cpp ../config/batch_plan.cpp)
set_source_files_properties(runtime.cpp PROPERTIES COMPILE_DEFINITIONS "ESPALIER_TORCH_STAMP=\"${Espalier_TORCH_STAMP}\"")
