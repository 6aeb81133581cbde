"""Run a frozen network on the CPU with OpenVINO: the same numbers as torch in float32, in less than half the time.

The network is converted in memory. Each photo is one request on one core, so its result depends neither on the batch nor on the
number of cores.
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

MEASURED = ("x86_64", "AMD64")  # processors on which it is measured to be faster

_log = logging.getLogger(__name__)


def openvino_tower(network: nn.Module, shape: tuple[int, ...]) -> Callable[[Tensor], Tensor] | None:
    """Compile a network for this CPU; None if OpenVINO is not available or not known to be faster.

    The network maps an input [1, *shape] float32 to an output [1, …] of any dtype, and is not changed. The returned function
    maps [n, *shape] to [n, …]. Any number of threads may call it at once.
    """
    if platform.machine() not in MEASURED:
        return None
    try:
        return _compiled(network, shape)
    except ImportError:
        return None
    except RuntimeError as error:  # OpenVINO does not support an operation or the processor
        _log.warning("OpenVINO cannot run the image tower, torch does: %s", error)
        return None


@torch.no_grad()
def _compiled(network: nn.Module, shape: tuple[int, ...]) -> Callable[[Tensor], Tensor]:
    # On import OpenVINO sends usage data to its makers, unless its telemetry package is missing.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino as ov
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit.trace is deprecated; other ways into OpenVINO need more imports
        traced = torch.jit.trace(network, torch.zeros(1, *shape), check_trace=False)
    frontend = FrontEndManager().load_by_framework("pytorch")
    decoder = TorchScriptPythonDecoder(traced)  # must live until the model is converted
    model = frontend.convert(frontend.load(decoder))
    model.reshape({0: [1, *shape]})
    cores = torch.get_num_threads()
    exact = {"INFERENCE_PRECISION_HINT": "f32"}  # else it uses float16 or bfloat16 if the processor has them
    one_core_each = {"NUM_STREAMS": cores, "INFERENCE_NUM_THREADS": cores, "ENABLE_CPU_PINNING": False}
    with ThreadPoolExecutor(1, initializer=step_back) as pool:  # OpenVINO's threads start in it and inherit its priority
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
