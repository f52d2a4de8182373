"""Previews of Wan's clips: the latents they are heading for, in the colours of their VAE."""

from __future__ import annotations

from collections.abc import Callable

from farm.workers.engine import Frames, Order, Watch
from farm.workers.previewing import Previewer
from wan_model.params import SamplingParams
from wan_model.pipeline import WanPipeline
from wan_model.preview import LatentColours, clean_latents, fit_colours
from wan_model.sampling.solvers import SolverState
from wan_model.vae import WanVAE


class Painter:
    """Makes the previews of a pipeline's clips. The colours of its VAE are fitted for the first of them, and kept."""

    def __init__(self, pipeline: WanPipeline) -> None:
        self._pipeline = pipeline
        self._colours: LatentColours | None = None

    def previews(
        self, order: Order, watch: Watch, params: SamplingParams, *, start: SolverState | None
    ) -> ClipPreviews | None:
        """Of a clip that goes on from `start`; None where none are wanted, or where there is no VAE to paint by."""
        if order.preview_every_s is None or (vae := self._pipeline.vae) is None:
            return None
        previewer = Previewer(order, watch, fps=order.spec.fps / vae.config.temporal_stride)
        has_image = order.image is not None
        return ClipPreviews(previewer, params, lambda: self._fitted(vae), before=start, is_first_clean=has_image)

    def _fitted(self, vae: WanVAE) -> LatentColours:
        if self._colours is None:
            self._colours = fit_colours(vae)
        return self._colours


class ClipPreviews:
    """Follows the states of one clip; see `wan_model.preview.clean_latents`."""

    def __init__(
        self,
        previewer: Previewer,
        params: SamplingParams,
        colours: Callable[[], LatentColours],
        *,
        before: SolverState | None,
        is_first_clean: bool,
    ) -> None:
        self._previewer = previewer
        self._params = params
        self._colours = colours
        self._before = before
        self._is_first_clean = is_first_clean

    def offer(self, state: SolverState) -> None:
        """To be called after every step."""
        self._previewer.offer(state.step, lambda: self._paint(state))
        self._before = state

    def _paint(self, state: SolverState) -> Frames:
        clean = clean_latents(state, self._params, before=self._before, is_first_clean=self._is_first_clean)
        return self._colours().paint(clean)
