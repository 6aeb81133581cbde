"""Run a frozen network on the CPU with OpenVINO: the same numbers as torch in float32, in less than half the time.

The network is converted in memory. Each photo is one request on one core, so its result depends neither on the batch nor on the
number of cores.
"""

import sys
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor, nn

from core.common.priority import step_back


@torch.no_grad()
def openvino_tower(network: nn.Module, shape: tuple[int, ...]) -> Callable[[Tensor], Tensor] | None:
    """Compile a network for this CPU; None if OpenVINO is not installed or cannot run it.

    The network maps an input [1, *shape] float32 to an output [1, …] of any dtype, and is not changed. The returned function
    maps [n, *shape] to [n, …]. Any number of threads may call it at once.
    """
    # On import OpenVINO sends usage data to its makers, unless its telemetry package is missing.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    cores = torch.get_num_threads()
    exact = {"INFERENCE_PRECISION_HINT": "f32"}  # else it uses float16 or bfloat16 if the processor has them
    one_core_each = {"NUM_STREAMS": cores, "INFERENCE_NUM_THREADS": cores, "ENABLE_CPU_PINNING": False}
    try:
        import openvino as ov

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch.jit.trace is deprecated; without it, OpenVINO imports more
            traced = torch.jit.trace(network, torch.zeros(1, *shape), check_trace=False)
        model = ov.convert_model(traced, input=[1, *shape])
        with ThreadPoolExecutor(1, initializer=step_back) as pool:  # OpenVINO's threads start in it and inherit its priority
            compiled = pool.submit(ov.compile_model, model, "CPU", exact | one_core_each).result()
    except (ImportError, RuntimeError):
        return None
    example = network(torch.zeros(1, *shape))

    def run(batch: Tensor) -> Tensor:
        out = torch.empty(len(batch), *example.shape[1:], dtype=example.dtype)
        inputs, outputs = batch.contiguous().numpy(), out.numpy()
        # No queue with a callback: to end the model, OpenVINO waits for threads that would wait for Python to call it.
        requests = [compiled.create_infer_request() for _ in range(min(cores, len(batch)))]
        for row in range(len(batch)):
            request = requests[row % cores]
            request.wait()
            request.set_input_tensor(ov.Tensor(inputs[row : row + 1], shared_memory=True))
            request.set_output_tensor(ov.Tensor(outputs[row : row + 1], shared_memory=True))
            request.start_async()
        for request in requests:
            request.wait()
        return out

    return run
