/*
 * A fast cblas for mlx on Linux: forwards the three products mlx calls to the OpenBLAS in numpy's wheel.
 *
 * The mlx wheel links the reference BLAS, whose sgemm runs on one core without vector code. numpy's wheel
 * carries OpenBLAS, but under other names and with 64-bit integers. This file bridges the two; it is
 * preloaded into workers only, so that its names win over those of the reference BLAS.
 */
#include <stdint.h>

#define MATRIX_PRODUCT(letter, scalar, matrix)                                                                \
    void scipy_cblas_##letter##gemm64_(int, int, int, int64_t, int64_t, int64_t, scalar, const matrix *,      \
                                       int64_t, const matrix *, int64_t, scalar, matrix *, int64_t);          \
    void cblas_##letter##gemm(int order, int transpose_a, int transpose_b, int m, int n, int k, scalar alpha, \
                              const matrix *a, int lda, const matrix *b, int ldb, scalar beta, matrix *c,     \
                              int ldc) {                                                                      \
        scipy_cblas_##letter##gemm64_(order, transpose_a, transpose_b, m, n, k, alpha, a, lda, b, ldb, beta,  \
                                      c, ldc);                                                                \
    }

MATRIX_PRODUCT(s, float, float)
MATRIX_PRODUCT(d, double, double)
MATRIX_PRODUCT(c, const void *, void) /* complex scalars travel by pointer */
