"""The real backend: `wan_model`. Torch comes in with the engines; what a gang's leader asks needs none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from farm.workers.engine import ModelPlan, Seat
from farm.workers.wan_states import read_lengths
from wan_model.text.prompt import clean_prompt

if TYPE_CHECKING:
    from farm.workers.wan_render import WanRenderEngine
    from farm.workers.wan_text import WanTextEngine


class WanBackend:
    """Loads Wan checkpoints."""

    def clean_prompt(self, prompt: str) -> str:
        return clean_prompt(prompt)

    def warnings_of(self, states: bytes) -> tuple[str, ...]:
        num_tokens, text_len = read_lengths(states)
        if num_tokens <= text_len:
            return ()
        return (f"the prompt is longer than {text_len} tokens and was cut",)

    def open_text(self, plan: ModelPlan) -> WanTextEngine:
        from farm.workers.wan_text import open_text

        return open_text(plan)

    def open_render(self, plan: ModelPlan, seat: Seat | None = None) -> WanRenderEngine:
        from farm.workers.wan_render import open_render

        return open_render(plan, seat)
