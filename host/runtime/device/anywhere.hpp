// For functions that the CPU and the GPU run alike.
#pragma once

#ifdef __CUDACC__
#define ESPALIER_ANYWHERE __host__ __device__
#else
#define ESPALIER_ANYWHERE
#endif
