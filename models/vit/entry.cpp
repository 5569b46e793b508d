// What libvit.so offers.
#include <espalier/dataset.hpp>
#include <espalier/model.hpp>

#include "beans/beans_dataset.hpp"
#include "vit_model.hpp"

ESP_PLUGIN("org.espalier.vit", "0.1.0",
           esp::model<esp::vit::ViTModel>("vit", "Vision Transformer for image classification",
                                          ESP_CAP_CPU | ESP_CAP_CUDA | ESP_CAP_CAPTURE_STEP | ESP_CAP_ALIAS_REBIND |
                                              ESP_CAP_DETERMINISTIC | ESP_CAP_INFER),
           esp::dataset<esp::vit::BeansDataset>("beans",
                                                "photographs of bean leaves, healthy or with one of two diseases",
                                                ESP_CAP_CPU | ESP_CAP_CUDA | ESP_CAP_DETERMINISTIC | ESP_CAP_INFER));
