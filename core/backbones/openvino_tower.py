"""A frozen network on the CPU through OpenVINO: torch's numbers in float32, in less than half of torch's time.

It is converted in memory. Every photo is a request of its own, on one core: what comes of it depends neither on the batch nor
on how many cores there are.
"""

from __future__ import annotations

import logging
import platform
import sys
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor, nn

from core.common.priority import step_back

MEASURED = ("x86_64", "AMD64")  # not measured on other processors

_log = logging.getLogger(__name__)


def openvino_tower(network: nn.Module, shape: tuple[int, ...]) -> Callable[[Tensor], Tensor] | None:
    """``network`` compiled for this CPU, or None where OpenVINO cannot be had or is not known to be the faster way. The network
    goes from one input [1, *shape] float32 to one output [1, …] in its own dtype, and stays as it is; the function goes from
    [n, *shape] to [n, …], and any number of threads may call it at once."""
    if platform.machine() not in MEASURED:
        return None
    try:
        return _compiled(network, shape)
    except ImportError:
        return None
    except RuntimeError as error:  # an operation or a processor that it does not know
        _log.warning("OpenVINO cannot run the image tower, torch does: %s", error)
        return None


@torch.no_grad()
def _compiled(network: nn.Module, shape: tuple[int, ...]) -> Callable[[Tensor], Tensor]:
    # OpenVINO reports to its makers when it is imported, unless its telemetry package is missing.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino as ov
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit.trace is deprecated; OpenVINO takes nothing else with so few imports
        traced = torch.jit.trace(network, torch.zeros(1, *shape), check_trace=False)
    frontend = FrontEndManager().load_by_framework("pytorch")
    decoder = TorchScriptPythonDecoder(traced)  # has to live until the model is converted
    model = frontend.convert(frontend.load(decoder))
    model.reshape({0: [1, *shape]})
    cores = torch.get_num_threads()
    exact = {"INFERENCE_PRECISION_HINT": "f32"}  # else float16 or bfloat16, where the processor has them
    one_core_each = {"NUM_STREAMS": cores, "INFERENCE_NUM_THREADS": cores, "ENABLE_CPU_PINNING": False}
    with ThreadPoolExecutor(1, initializer=step_back) as pool:  # which the threads that compute are started in
        compiled = pool.submit(ov.Core().compile_model, model, "CPU", exact | one_core_each).result()
    example = network(torch.zeros(1, *shape))

    def run(batch: Tensor) -> Tensor:
        out = torch.empty(len(batch), *example.shape[1:], dtype=example.dtype)
        inputs, outputs = batch.contiguous().numpy(), out.numpy()
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
