"""The line to a balance: one question at a time, and never an old or unasked line for its answer.

No dialect numbers its answers, and a weight that the operator prints looks like one that was asked for.  But lines come
in the order of the questions.  So a weight is followed by a question of another kind (its serial number), the *fence*:

    SI ->  <- S S 1.0120 g      I4 ->  <- I4 A "B0123"      one weight before the fence: it is the answer
    SI ->  <- S S 9.9999 g  <- S S 1.0120 g   I4 ->  <- I4 A "B0123"     two: one was printed; asked again

A balance that says nothing of itself has no fence: there the answers still owed are waited for, and after the weight
the line is listened to for as long as its slowest answer took.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from gateway.drivers.transport import Stream
from gateway.drivers.wire.weighing import Dialect, Message, Question
from gateway.errors import DeviceError, NotDone
from gateway.model import Quality

TRIES: Final = 4
"""Questions in one poll before a balance that prints by itself is called so."""
KEPT: Final = 64
"""Lines nobody asked for that are kept until the next poll."""
MOST: Final = 256
"""Lines that may come for one question: more is noise, or a flood, and not worth looking through."""
_SHARE: Final = 0.25
_MOST_S: Final = 0.5
"""Of the timeout, and at most: how long a balance that need not say its name may take to say it."""
_LINGER_S: Final = (0.02, 0.25)
"""Shortest and longest listening after a weight without a fence."""


class BalanceLink(Stream):
    """Asks, and hears what it did not ask for."""

    def __init__(self, where: str, dialect: Dialect, timeout_s: float) -> None:
        super().__init__(where)
        self.dialect = dialect
        self.identity: dict[str, str] = {}
        self.unasked = 0
        """Lines nobody asked for: the operator pressed PRINT, or an old answer."""
        self.unreadable = 0
        self.refused: Message | None = None
        """The balance's last refusal since the last order."""
        self.prints: deque[bytes] = deque(maxlen=KEPT)
        """Those lines, as they came, until somebody takes them."""
        self.heard_s = 0.0
        """Loop time of the last line."""
        self._timeout_s = timeout_s
        self._patience_s = min(timeout_s * _SHARE, _MOST_S)
        self._fence: tuple[Question, str] | None = None
        self._fences_owed = 0
        self._weights_owed = 0
        self._slowest_s = _LINGER_S[0]
        self._window: list[Message] | None = None
        """What came since the question; None: nothing was asked."""
        self._unsure: Message | None = None
        """What came instead of the fence: whatever weight came before it may be an old one."""
        self._following = False
        self._newest: Message | None = None
        self._news: asyncio.Future[None] | None = None

    # -- who it is -------------------------------------------------------------------------------------

    async def introduce(self, *, must: bool) -> None:
        """Ask what the balance says of itself.  `must`: TimeoutError, by whoever calls, if it says nothing."""
        for name, question in self.dialect.identity.items():
            if not await self._ask_name(name, question, None if must else self._patience_s):
                break

    async def _ask_name(self, name: str, question: Question, patience_s: float | None) -> bool:
        """False: no answer, from a balance that need not give one.  An error may belong to noise sent before: twice."""
        try:
            async with asyncio.timeout(patience_s):
                message = await self.ask(question) or await self.ask(question)
        except TimeoutError:
            if patience_s is None:
                raise
            return False
        if message is not None and message.text and message.quality is Quality.GOOD:
            self.identity[name] = message.text
            self._fence = self._fence or (question, message.text)
        return True

    async def settle_down(self) -> None:
        """Without a fence, what was asked on an earlier connection may still be under way: let it come."""
        if self._fence is None:
            await asyncio.sleep(self._patience_s)

    # -- questions -------------------------------------------------------------------------------------

    async def ask(self, question: Question) -> Message | None:
        """The line that answers it, the last one if there are more; None where the balance refuses it."""
        window = await self._write(question.ask)
        found: list[Message] = []

        def answered() -> bool:
            found[:] = [line for line in window if line.id in question.answers or line.error]
            return bool(found) and not found[-1].more

        try:
            await self._until(answered)
        finally:
            self._close_window({id(line) for line in found})
        return None if found[-1].error else found[-1]

    async def weigh(self) -> Message:
        """The weight now: stable, dynamic, or why there is none.  DeviceError: the link is lost."""
        for _ in range(TRIES):
            window = await self._weigh_once()
            weights = [line for line in window if line.id in self.dialect.weights]
            if len(weights) <= 1:
                return self._settle(window, weights)
            self._note(weights)
        raise self.failure(
            f"{TRIES} times more than one weight came for one question: it prints by itself; "
            "set it to print on request, or write mode: continuous"
        )

    async def _weigh_once(self) -> list[Message]:
        """Everything that came between the question and the moment when nothing more can come of it."""
        window = await self._write(self.dialect.weigh.ask)
        self._unsure = None
        self._weights_owed += 1
        began_s = self.loop.time()
        try:
            if self._fence is not None:
                await self._until(lambda: bool(window))
                await self._pass_fence()
            else:
                await self._until(lambda: self._weights_owed == 0)
                self._slowest_s = max(self._slowest_s, min(self.loop.time() - began_s, _LINGER_S[1]))
                await self._linger(window)
            self._weights_owed = 0
        finally:
            self._window = None
        return window

    async def _pass_fence(self) -> None:
        """Ask for the name until every fence that was ever put up is passed; damaged on its way: once more."""
        assert self._fence is not None
        for _ in range(2):
            self._fences_owed += 1
            before = len(self._strange())
            self.transport.write(self._fence[0].ask)
            await self._until(lambda before=before: self._fences_owed == 0 or len(self._strange()) > before)  # type: ignore[misc]
            if self._fences_owed == 0:
                return
            self._fences_owed -= 1
        self._unsure = self._strange()[-1]

    def _strange(self) -> list[Message]:
        """Lines that are neither a weight nor the fence: refused, damaged, or of somebody else."""
        usual = self.dialect.weights | self.dialect.acknowledgements
        return [line for line in self._window or () if line.id not in usual and not self._is_fence(line)]

    async def _linger(self, window: list[Message]) -> None:
        heard = 0
        while heard != len(window):
            heard = len(window)
            await asyncio.sleep(self._slowest_s)
            await self.caught_up()
            self._usable()

    def _settle(self, window: list[Message], weights: list[Message]) -> Message:
        """The one weight; or else the balance's refusal; or what could not be read, of weight or fence."""
        refusals = [line for line in window if line.error]
        chosen = self._unsure or (weights or refusals or window)[0]
        self._note([line for line in window if line is not chosen and not self._is_fence(line)])
        return chosen

    # -- a balance that sends by itself ----------------------------------------------------------------

    async def follow(self) -> None:
        """From now on its weights are taken as they come."""
        self._following, self._newest = True, None
        self.heard_s = self.loop.time()
        if self.dialect.stream:
            self.transport.write(self.dialect.stream)

    async def streams(self) -> None:
        """Return when a weight is there that was not given yet.  DeviceError: nothing came for the timeout."""
        try:
            async with asyncio.timeout_at(self.heard_s + self._timeout_s):
                await self._until(lambda: self._newest is not None)
        except TimeoutError:
            raise self.failure(
                f"the stream stopped: nothing came for {self._timeout_s:g} s; is it set to print continuously?"
            ) from None

    async def newest(self) -> Message:
        """The newest weight not given yet; waits for one as `streams` does."""
        await self.streams()
        assert self._newest is not None
        message, self._newest = self._newest, None
        return message

    def hush(self) -> None:
        """Make it stop sending by itself; for the end of the connection."""
        if self.lost is None and self._following and self.dialect.stop:
            self.transport.write(self.dialect.stop)

    # -- tare and zero ---------------------------------------------------------------------------------

    async def order(self, what: str, question: Question) -> None:
        """Send a tare or zero.  NotDone where the balance refuses it; silence is not an answer."""
        self.refused = None
        if not question.answers:
            await self._write(question.ask)
            self._close_window(set())
            return
        message = await self.ask(question)
        if message is not None and message.quality is Quality.BAD:
            self.refused = message
        self.object_to(what)

    def object_to(self, what: str) -> None:
        """NotDone if the balance refused something since the order."""
        if self.refused is not None:
            raise NotDone(f"{self.where}: {what}: {self.refused.reason}")

    # -- the line --------------------------------------------------------------------------------------

    async def _write(self, question: bytes) -> list[Message]:
        """Flush, send, and open the window in which what comes may be the answer."""
        await self.caught_up()
        if self.lost is not None:
            raise self.failure()
        if not self._following:
            self.dialect.clear()
        window: list[Message] = []
        self._window = window
        self.transport.write(question)
        return window

    def _close_window(self, chosen: set[int]) -> None:
        window, self._window = self._window or [], None
        self._note([line for line in window if id(line) not in chosen])

    def _usable(self) -> None:
        """DeviceError: the line is down, or so much comes that nothing can be told from it."""
        if self.lost is not None:
            raise self.failure()
        if self._window is not None and len(self._window) > MOST:
            raise self.failure(f"more than {MOST} lines came for one question: noise on the line, or a wrong speed")

    async def _until(self, done: Callable[[], bool]) -> None:
        while not done():
            self._usable()
            self._news = self.loop.create_future()
            try:
                await self._news
            finally:
                self._news = None

    def data_received(self, data: bytes) -> None:
        for message in self.dialect.feed(data):
            self._hear(message)
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    def _hear(self, message: Message) -> None:
        self.heard_s = self.loop.time()
        if message.error:
            self.refused = message
        elif not message.id:
            self.unreadable += 1
        weight = message.id in self.dialect.weights
        if weight or (message.id in self.dialect.weigh.answers and self._fence is None):
            self._weights_owed = max(0, self._weights_owed - 1)
        if self._is_fence(message):
            self._fences_owed = max(0, self._fences_owed - 1)
        if self._following and (weight or not (message.id or self._has_good())):
            self._newest = message
        elif self._window is not None:
            self._window.append(message)
        else:
            self._note([message])

    def _has_good(self) -> bool:
        return self._newest is not None and self._newest.quality is not Quality.BAD

    def _is_fence(self, message: Message) -> bool:
        """A name that is another balance's is none."""
        fence = self._fence
        return fence is not None and message.id in fence[0].answers and message.text == fence[1]

    def _note(self, lines: list[Message]) -> None:
        """Lines nobody asked for.  A fence that comes late is ours, an acknowledgement is courtesy."""
        courtesy = self.dialect.acknowledgements
        strange = [line.raw for line in lines if not self._is_fence(line) and line.id not in courtesy]
        self.unasked += len(strange)
        self.prints.extend(strange)

    def dropped(self, error: DeviceError) -> None:
        del error  # whoever waits looks at `lost`
        if self._news is not None and not self._news.done():
            self._news.set_result(None)
