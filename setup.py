"""What setup.cfg cannot say: compile the pixel operations of the host, where there is a C compiler."""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "dali_pipelines.kernels.native",
            ["dali_pipelines/kernels/kernels.c"],
            # Else a multiplication is fused with an addition, and the bits are not those of NumPy.
            extra_compile_args=["-O3", "-ffp-contract=off", "-fno-trapping-math"],
            optional=True,  # NumPy does the same in more time
        )
    ]
)
