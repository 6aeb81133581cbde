"""Run a frozen network on the CPU with OpenVINO, in less than half of torch's time.

The network is converted in memory. Each request holds a fixed number of rows and runs on one core, so a result depends neither
on the batch nor on the number of cores.
"""

import sys
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor, nn

from core.common.priority import step_back


@torch.no_grad()
def openvino_network(
    network: nn.Module, example: Tensor, dtype: torch.dtype = torch.float32
) -> Callable[[Tensor], Tensor] | None:
    """Compile a network for this CPU; None if OpenVINO is not installed or cannot run it.

    The network maps an input like ``example`` [rows, …] to an output [rows, …] of any dtype, and is not changed. The returned
    function maps [n, …] to [n, …], ``rows`` at once. Any number of threads may call it. ``dtype``: of the matrix products.
    """
    # On import OpenVINO sends usage data to its makers, unless its telemetry package is missing.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    cores, rows = torch.get_num_threads(), len(example)
    # without a hint, it uses float16 or bfloat16 if the processor has them
    precision = {"INFERENCE_PRECISION_HINT": "bf16" if dtype == torch.bfloat16 else "f32"}
    one_core_each = {"NUM_STREAMS": cores, "INFERENCE_NUM_THREADS": cores, "ENABLE_CPU_PINNING": False}
    try:
        import openvino as ov

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch.jit.trace is deprecated; without it, OpenVINO imports more
            traced = torch.jit.trace(network, example, check_trace=False)
        model = ov.convert_model(traced, input=[tuple(example.shape)], example_input=example)
        with ThreadPoolExecutor(1, initializer=step_back) as pool:  # OpenVINO's threads start in it and inherit its priority
            compiled = pool.submit(ov.compile_model, model, "CPU", precision | one_core_each).result()
    except (ImportError, RuntimeError):
        return None
    like = network(example)

    def run(batch: Tensor) -> Tensor:
        n, missing = len(batch), -len(batch) % rows
        batch = torch.cat([batch, batch[-1:].expand(missing, *batch.shape[1:])]) if missing else batch.contiguous()
        out = torch.empty(len(batch), *like.shape[1:], dtype=like.dtype)
        parts = list(zip(batch.split(rows), out.split(rows), strict=True))[: len(batch) // rows]
        # No queue with a callback: to end the model, OpenVINO waits for threads that would wait for Python to call it.
        requests = [compiled.create_infer_request() for _ in range(min(cores, len(parts)))]
        for number, (inputs, outputs) in enumerate(parts):
            request = requests[number % cores]
            request.wait()
            request.set_input_tensor(ov.Tensor(inputs.numpy(), shared_memory=True))
            request.set_output_tensor(ov.Tensor(outputs.numpy(), shared_memory=True))
            request.start_async()
        for request in requests:
            request.wait()
        return out[:n]

    return run
