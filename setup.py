"""Compile the pixel operations of the host if there is a C compiler, which setup.cfg cannot express."""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "dali_pipelines.kernels.native",
            ["dali_pipelines/kernels/kernels.c"],
            # Otherwise multiplications are fused with additions, and the results differ from NumPy's.
            extra_compile_args=["-O3", "-ffp-contract=off", "-fno-trapping-math"],
            optional=True,  # NumPy is the slower fallback
        )
    ]
)
