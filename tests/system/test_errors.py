"""Errors of torch that users can fix get a helpful message."""

import pytest
import torch

from resnet_degradation.system.errors import explain


@pytest.mark.parametrize(
    "error",
    [
        torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be reported later"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
    ],
)
def test_too_little_memory_is_explained_in_one_line(error: Exception) -> None:
    explained = explain(error)
    assert explained is not None
    assert explained.startswith("out of memory: try a smaller recipe.batch_size")
    assert len(explained.splitlines()) == 1


def test_other_errors_of_a_gpu_are_bugs() -> None:
    assert explain(RuntimeError("CUDA error: an illegal memory access was encountered")) is None
