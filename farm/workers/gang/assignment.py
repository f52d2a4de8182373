"""One clip in work: what its ranks send, until each has answered or the gang is broken."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from farm.errors import (
    ClipYielded,
    HangError,
    InputError,
    MemoryExhaustedError,
    NotFiniteError,
    RankLostError,
)
from farm.workers.engine import Frames, Order, Watch
from farm.workers.gang.channel import Letter
from farm.workers.gang.crew import Crew
from farm.workers.gang.faults import raised_again
from farm.workers.gang.messages import Chunk, Decoded, Done, Failed, Gone, Kept, Previewed, Stepped, Stop, Work
from farm.workers.gang.timing import GangTiming, Pulse

# Faults that all ranks come upon together, and that leave nothing behind.
_HARMLESS = (InputError, NotFiniteError)
# For what is still on its way from other ranks, where nothing that they may say can save the gang.
SWEEP_S = 0.2
# How often the watch is asked while ranks are silent: a wish to stop is to hold for the step in work, not the next one.
LISTEN_S = 0.25


class Assignment:
    """Handed out when made. `carry_on` may be called again after its consumer gave up on it: it goes on from there."""

    def __init__(
        self, crew: Crew, order: Order, *, number: int, ranks: Sequence[int], pulse: Pulse, timing: GangTiming
    ) -> None:
        spec = order.spec
        self._crew = crew
        self._number = number
        self._pulse = pulse
        self._timing = timing
        self._ranks = ranks
        self._shape = (spec.render_width, spec.render_height, spec.num_frames, spec.is_guided, order.is_tame)
        self._unanswered = set(ranks)
        self._faults = dict[int, Failed | Gone]()
        self._fault_s = float("inf")
        self._is_stopping = False
        self._is_yielded = False
        self.is_broken = False
        is_denoised = order.state is not None and order.state.step >= spec.num_inference_steps
        pulse.begin()
        for rank in ranks:
            crew.send(rank, Work(number=number, order=order))
            self._enter(rank, "decode" if is_denoised else "denoise", at_s=time.monotonic())

    @property
    def is_over(self) -> bool:
        """Every rank has answered, and none is the worse for it."""
        return not self._unanswered and not self.is_broken

    def stop(self) -> None:
        """Have the clip put down after the step or the piece of decoding in work."""
        if not self._is_stopping:
            self._is_stopping = True
            for rank in self._ranks:
                self._crew.send(rank, Stop(number=self._number))

    def carry_on(self, watch: Watch) -> Iterator[Frames]:
        """Frames as they come. What the watch raises passes through and leaves the ranks at work.

        Raises:
            InputError, NotFiniteError: the gang is whole.
            MemoryExhaustedError, GangError, or the class of an error that nobody expected: it is not.
            ClipYielded: it was put down.
        """
        self._pulse.resume(now_s=time.monotonic())
        while self._unanswered:
            listen_s = float("inf") if self._is_stopping else time.monotonic() + LISTEN_S
            letter = self._crew.receive(until_s=min(self._pulse.due_s(), self._fault_s, listen_s))
            if letter is None:
                if time.monotonic() >= self._fault_s:
                    break
                self._raise_if_hung()
                self._ask(0, watch)
            elif (frames := self._note(letter, watch)) is not None:
                try:
                    yield frames
                finally:
                    self._crew.taken(letter.rank)
                self._pulse.resume(now_s=time.monotonic())
        if self._faults:
            self.is_broken = bool(self._unanswered) or not all(map(_is_harmless, self._faults.values()))
            raise self._verdict()
        if self._is_yielded:
            raise ClipYielded("put down between two steps, or two pieces of decoding; its state was kept")

    def _note(self, letter: Letter, watch: Watch) -> Frames | None:
        rank = letter.rank
        match letter.message:
            case Stepped(done=done, total=total):
                self._stepped(letter, watch, done=done, total=total)
            case Kept(state=state):
                watch.keep(state)
            case Previewed(step=step, image=image):
                self._crew.seen(rank)
                watch.preview(step, image)
            case Decoded():
                self._pulse.beat(rank, at_s=letter.at_s)
                self._ask(rank, watch)
            case Chunk(frames=frames):
                return frames
            case Done(is_yielded=is_yielded):
                self._is_yielded |= is_yielded and rank == 0  # it has the frames, whatever the others left undone
                self._answered(rank)
            case Failed() | Gone() as fault:
                self._faults.setdefault(rank, fault)
                patience_s = SWEEP_S if _is_final(fault) else self._timing.answer_s
                self._fault_s = min(self._fault_s, letter.at_s + patience_s)
                self._answered(rank)
        self._pulse.resume(now_s=time.monotonic())  # the watch may have been long over it
        return None

    def _stepped(self, letter: Letter, watch: Watch, *, done: int, total: int) -> None:
        self._pulse.beat(letter.rank, at_s=letter.at_s)
        self._enter(letter.rank, "denoise" if done < total else "decode", at_s=letter.at_s)
        if letter.rank == 0:
            watch.stepped(done, total)
        self._ask(letter.rank, watch)

    def _ask(self, rank: int, watch: Watch) -> None:
        if rank == 0 and watch.should_yield():
            self.stop()

    def _enter(self, rank: int, stage: str, *, at_s: float) -> None:
        self._pulse.watch([rank], (stage, self._shape), now_s=at_s)

    def _answered(self, rank: int) -> None:
        self._unanswered.discard(rank)
        self._pulse.unwatch(rank)

    def _raise_if_hung(self) -> None:
        late = self._pulse.overdue(now_s=time.monotonic())
        if not late:
            return
        limits = ", ".join(f"rank {rank} for {self._pulse.limit_s(rank):.0f} s" for rank in late)
        self.is_broken = True
        raise HangError(f"nothing was heard of {limits}:\n{self._crew.ranks.stacks(self._ranks)}")

    def _verdict(self) -> Exception:
        """What to say of several ranks' faults: memory that ran out, else a death, else the first."""
        failed = [raised_again(fault) for fault in self._faults.values() if isinstance(fault, Failed)]
        for error in failed:
            if isinstance(error, MemoryExhaustedError):
                return error
        for rank, fault in self._faults.items():
            if isinstance(fault, Gone):
                return RankLostError(self._crew.ranks.fate(rank))
        return failed[0]


def _is_harmless(fault: Failed | Gone) -> bool:
    return isinstance(fault, Failed) and isinstance(raised_again(fault), _HARMLESS)


def _is_final(fault: Failed | Gone) -> bool:
    return isinstance(fault, Gone) or isinstance(raised_again(fault), MemoryExhaustedError)
