// LibTorch's wheel contains Gloo but not its headers. This folder declares what c10d's ProcessGroupGloo.hpp names, and
// no more; nothing here is ever constructed or called by us.
#pragma once
