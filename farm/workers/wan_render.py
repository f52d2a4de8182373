"""The rank engine of the real backend: DiT and VAE on one device, and its part of a gang."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path

import safetensors.torch
import torch
from PIL import Image
from torch._C._distributed_c10d import TCPStore

from farm.errors import ClipYielded, InputError, MemoryExhaustedError, ModelError, NotFiniteError
from farm.media import encoder_settings, read_image
from farm.provenance import Execution
from farm.sampler_state import StateHeader, header_for
from farm.spec import ClipSpec
from farm.workers.engine import Frames, ModelPlan, Order, SamplerState, Seat, Watch
from farm.workers.wan_load import device_kind, load_model
from farm.workers.wan_previews import Painter
from farm.workers.wan_states import STATES_KEY
from wan_model.conditioning import first_frame_from_image
from wan_model.errors import NonFiniteError, RequestError
from wan_model.parallel import SINGLE, Group, join
from wan_model.params import SamplingParams
from wan_model.pipeline import Component, WanPipeline
from wan_model.sampling.solvers import SolverState
from wan_model.text.states import TextStates

ALONE = Group(parallel=SINGLE)
# Of one exchange between ranks. The leader, which hears their beats, is to notice a hang before they do.
EXCHANGE_S = 24 * 3600.0
LIBRARIES = ("torch", "transformers", "wanfarm")
# A tame decode goes by so many strips of rows.
TAME_TILES = 4


def open_render(plan: ModelPlan, seat: Seat | None) -> WanRenderEngine:
    """Loads this rank's weights, then waits for the other ranks. ModelError where the weights do not load."""
    pipeline = _loaded(plan, None if seat is None else seat.shared_folder)
    if seat is None:
        return WanRenderEngine(pipeline, plan)
    return WanRenderEngine(pipeline, plan, group=_joined(plan, seat), beat=seat.beat)


class WanRenderEngine:
    """Renders alone, or as one of the ranks of `group`. `beat` is called after each piece of decoding."""

    def __init__(
        self,
        pipeline: WanPipeline,
        plan: ModelPlan,
        *,
        group: Group = ALONE,
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        self._pipeline = pipeline
        self._plan = plan
        self._group = group
        self._beat = beat
        self._painter = Painter(pipeline)

    def environment(self, *, is_tame: bool = False) -> Execution:
        parallel, is_shared = self._plan.parallel, self._plan.parallel.degree > 1 and not is_tame
        tiles = self._tiles(is_tame)
        return Execution(
            device=device_kind(self._plan.device),
            degree=parallel.degree if is_shared else 1,
            parallel=str(parallel) if is_shared else None,
            tiling=None if tiles is None else f"rows/{tiles}",
            threads=torch.get_num_threads(),
            attention="sdpa",
            libraries={name: version(name) for name in LIBRARIES},
            encoder={},
        )

    def execution(self, spec: ClipSpec, *, is_tame: bool = False) -> Execution:
        found = self.environment(is_tame=is_tame)
        return found.model_copy(update={"encoder": dict(encoder_settings(spec.codec))})

    def render(self, order: Order, watch: Watch) -> Iterator[Frames]:
        with _farm_errors():
            group = ALONE if order.is_tame else self._group
            latents = self._denoised(order, watch, group)
            if self._plan.experts != "high":
                yield from self._decoded(latents, watch, group, tiles=self._tiles(order.is_tame))

    def rebuild(self) -> None:
        """Nothing can break that an exception leaves behind."""

    def close(self) -> None:
        self._group.close()

    def _tiles(self, is_tame: bool) -> int | None:
        """More tiles than ranks leave less to hold at once than rows shared among ranks."""
        tiles = (
            self._plan.tiles if self._plan.tiles is not None and self._plan.tiles > self._plan.parallel.degree else None
        )
        return max(TAME_TILES, tiles or 0) if is_tame else tiles

    def _decoded(self, latents: torch.Tensor, watch: Watch, group: Group, *, tiles: int | None) -> Iterator[Frames]:
        """With tiles by the first rank alone. ClipYielded, on all ranks that decode after the same piece."""
        if tiles is not None and not group.parallel.is_first:
            return
        group = group if tiles is None else ALONE

        def between_pieces(done: int, total: int) -> None:
            self._beat()
            if done < total and group.agree(watch.should_yield()):
                raise ClipYielded(f"put down after piece {done} of {total} of its decoding")

        yield from self._pipeline.decode(latents, parallel=group.parallel, tiles=tiles, on_chunk=between_pieces)

    def _denoised(self, order: Order, watch: Watch, group: Group) -> torch.Tensor:
        """The latents after the last step. ClipYielded."""
        spec, text, params = order.spec, order.text, _params(order.spec)
        state = None if order.state is None else _solver_state(order.state)
        keeper = _Keeper(order, self._headers(order), watch) if group.parallel.is_first else None
        previews = self._painter.previews(order, watch, params, start=state) if group.parallel.is_first else None
        steps = self._pipeline.steps(
            _states(text.positive),
            None if text.negative is None else _states(text.negative),
            params,
            first_frame=None if order.image is None else _first_frame(order.image, spec),
            state=state,
            parallel=group.parallel,
            experts=self._plan.experts,
        )
        for state in steps:
            watch.stepped(state.step, spec.num_inference_steps)
            if previews is not None:
                previews.offer(state)
            is_yielding = group.agree(watch.should_yield())
            if keeper is not None:
                keeper.offer(state, is_due=is_yielding)
            if is_yielding:
                raise ClipYielded(f"put down after step {state.step} of {spec.num_inference_steps}")
        if state is None:
            raise RuntimeError("no step was done, and none had been")
        if keeper is not None:
            keeper.offer(state, is_due=True)
        return state.latents

    def _headers(self, order: Order) -> Callable[[int], StateHeader]:
        execution = self.execution(order.spec, is_tame=order.is_tame)
        return lambda step: header_for(order.spec, execution, step=step, high_noise=order.high_noise)


class _Keeper:
    """Keeps the states that are due, each once."""

    def __init__(self, order: Order, header: Callable[[int], StateHeader], watch: Watch) -> None:
        self._policy = order.policy
        self._header = header
        self._watch = watch
        self._step = 0 if order.state is None else order.state.step
        self._kept_s = time.monotonic()

    def offer(self, state: SolverState, *, is_due: bool) -> None:
        """Keep it where it is due, by the policy or for another reason."""
        if state.step == self._step or not (is_due or self._is_due(state.step)):
            return
        self._step, self._kept_s = state.step, time.monotonic()
        # Copies: after the last step two of them are one, which safetensors refuses.
        tensors = {name: tensor.cpu().contiguous().clone() for name, tensor in state.to_tensors().items()}
        data = safetensors.torch.save(tensors, metadata=self._header(state.step).to_metadata())
        self._watch.keep(SamplerState(step=state.step, data=bytes(data)))

    def _is_due(self, step: int) -> bool:
        every_steps = self._policy.every_steps
        if every_steps is not None and step - self._step >= every_steps:
            return True
        return time.monotonic() - self._kept_s >= self._policy.every_s


def _loaded(plan: ModelPlan, shared_folder: Path | None) -> WanPipeline:
    """What the plan's part of the steps takes. The high-noise expert needs a VAE only to encode first frames."""
    components: tuple[Component, ...] = ("dit",) if plan.experts == "high" else ("dit", "vae")
    pipeline = load_model(plan, components=components, experts=plan.experts, shared_folder=shared_folder)
    boundary = pipeline.config.defaults.boundary
    if plan.handover is not None and boundary != plan.boundary:
        raise ModelError(f"the experts of {plan.path} change places at {boundary}, and were to at {plan.boundary}")
    if plan.experts == "high" and pipeline.config.expand_timesteps:
        return replace(pipeline, vae=load_model(plan, components=("vae",), shared_folder=shared_folder).vae)
    return pipeline


def _joined(plan: ModelPlan, seat: Seat) -> Group:
    """Waits until all ranks are there; the leader sees to it that this ends."""
    parallel = plan.parallel
    if parallel.degree == 1:
        return ALONE
    timeout = timedelta(seconds=EXCHANGE_S)
    if seat.rank == 0:
        # The store asks nobody who they are: on one host nobody outside it shall reach it.
        door = socket.create_server(("127.0.0.1" if parallel.num_hosts == 1 else "", 0))
        store = TCPStore(
            "127.0.0.1",
            door.getsockname()[1],
            parallel.degree,
            is_master=True,
            timeout=timeout,
            wait_for_workers=False,
            master_listen_fd=door.detach(),
        )
        seat.announce(store.port)
    else:
        host, port = seat.meeting_point()
        store = TCPStore(host, port, parallel.degree, is_master=False, timeout=timeout)
    return join(
        store,
        rank=seat.rank,
        ulysses_degree=parallel.ulysses_degree,
        cfg_degree=parallel.cfg_degree,
        ulysses=plan.exchange,
        device="cuda:0" if plan.device == "cuda" else plan.device,  # the first that this rank sees
        timeout_s=EXCHANGE_S,
    )


@contextmanager
def _farm_errors() -> Iterator[None]:
    try:
        yield
    except RequestError as error:
        raise InputError(f"the model cannot make this clip: {error}") from error
    except NonFiniteError as error:
        raise NotFiniteError(str(error)) from error
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise MemoryExhaustedError(f"out of memory: {error}") from error


def _solver_state(state: SamplerState) -> SolverState:
    return SolverState.from_tensors(safetensors.torch.load(state.data))


def _params(spec: ClipSpec) -> SamplingParams:
    return SamplingParams(
        width=spec.render_width,
        height=spec.render_height,
        num_frames=spec.num_frames,
        num_inference_steps=spec.num_inference_steps,
        guidance_high=spec.guidance_high,
        guidance_low=spec.guidance_low,
        shift=spec.shift,
        solver=spec.solver,
        profile=spec.profile,
        seed=spec.seed,
    )


def _states(data: bytes) -> TextStates:
    return TextStates(states_TD=safetensors.torch.load(data)[STATES_KEY])


def _first_frame(image: bytes, spec: ClipSpec) -> torch.Tensor:
    picture = Image.fromarray(read_image(image))
    return first_frame_from_image(picture, width=spec.render_width, height=spec.render_height)
