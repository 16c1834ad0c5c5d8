"""The arithmetic of unread counts."""

import random

from homeserver.protocol.ids import EventId, UserId
from homeserver.services.push.unread_counts import NONE, Action, ReadPosition, Standing, UnreadCounts

ME, OTHER = UserId("@me:here"), UserId("@other:here")
ROOT = EventId("$root")


def action(
    nid: int,
    notify: int = 1,
    *,
    sender: UserId = OTHER,
    thread: EventId | None = None,
    me: tuple[bool, bool] | None = None,
) -> Action:
    return Action(nid, sender, thread, notify, None if me is None else {ME: me})


def standing(*actions: Action, whole: int = 0, **threads: int) -> Standing:
    made = Standing(0, ReadPosition(whole, threads))
    made.add(ME, actions)
    return made


def test_events_beyond_the_read_position_count() -> None:
    assert standing(action(1), action(2, 2), action(3, 0), whole=0).counts == UnreadCounts(2, 1, {})
    assert standing(action(1), action(2, 2), whole=1).counts == UnreadCounts(1, 1, {})
    assert standing(action(1), whole=1).counts is NONE


def test_an_exception_for_the_user_wins() -> None:
    assert standing(action(1, 2, me=(False, False))).counts == NONE
    assert standing(action(1, 0, me=(True, True))).counts == UnreadCounts(1, 1, {})


def test_threads_count_on_their_own_too() -> None:
    counts = standing(action(1), action(2, thread=ROOT), action(3, 2, thread=ROOT)).counts
    assert counts == UnreadCounts(3, 1, {ROOT: (2, 1)})
    assert counts.main == (1, 0)


def test_a_thread_may_be_read_beyond_the_room_and_the_main_timeline_too() -> None:
    actions = (action(1), action(2, thread=ROOT), action(3), action(4, thread=ROOT))
    assert standing(*actions, **{ROOT: 2, "main": 3}).counts == UnreadCounts(1, 0, {ROOT: (1, 0)})


def test_ones_own_event_reads_its_thread() -> None:
    before = (action(1), action(2, thread=ROOT))
    assert standing(*before, action(3, sender=ME)).counts == UnreadCounts(1, 0, {ROOT: (1, 0)})
    assert standing(*before, action(3, sender=ME, thread=ROOT)).counts == UnreadCounts(1, 0, {})
    assert standing(action(1), action(3, sender=ME)).counts == NONE


def test_reading_a_thread_recounts_only_that() -> None:
    all_actions = [action(1), action(2, thread=ROOT), action(3, thread=ROOT), action(4)]
    made = standing(*all_actions)
    assert made.read.move(ROOT, 2)
    made.recount(ME, ROOT, all_actions[2:])
    assert made.counts == UnreadCounts(3, 0, {ROOT: (1, 0)})
    assert made.read.move("main", 1)
    made.recount(ME, "main", all_actions[1:])
    assert made.counts == UnreadCounts(2, 0, {ROOT: (1, 0)})


def test_reading_the_room_recounts_all_but_what_threads_have_read() -> None:
    all_actions = [action(1), action(2, thread=ROOT), action(3, thread=ROOT), action(4)]
    made = standing(*all_actions, **{ROOT: 3})
    assert made.read.move(None, 1)
    made.recount(ME, None, all_actions[1:])
    assert made.counts == UnreadCounts(1, 0, {})


def test_nothing_moves_back() -> None:
    read = ReadPosition(5, {ROOT: 7, "old": 3})
    assert not read.move(None, 5)
    assert not read.move(ROOT, 7)
    assert not read.move("main", 4)
    assert read.move("main", 6)
    assert (read.has_read("main", 6), read.has_read(ROOT, 8), read.has_read("other", 6)) == (
        True,
        False,
        False,
    )


def test_counting_step_by_step_is_counting_at_once() -> None:
    dice = random.Random(3)
    for _ in range(200):
        whole, threads = 0, dict[str, int]()
        actions: list[Action] = []
        made = Standing(0, ReadPosition(0, {}))
        for nid in range(1, 40):
            thread = dice.choice((None, None, ROOT, EventId("$b")))
            if dice.random() < 0.15:
                where, upto = dice.choice((None, "main", ROOT)), dice.randrange(nid)
                if where is None:
                    whole = max(whole, upto)
                else:
                    threads[where] = max(threads.get(where, 0), upto)
                if made.read.move(where, upto):
                    made.recount(ME, where, [one for one in actions if one.nid > upto])
            new = action(
                nid,
                dice.choice((0, 1, 1, 2)),
                sender=dice.choice((OTHER, OTHER, OTHER, ME)),
                thread=thread,
                me=dice.choice((None, None, (False, False), (True, True))),
            )
            actions.append(new)
            made.add(ME, [new])
            at_once = Standing(0, ReadPosition(whole, threads))
            at_once.add(ME, actions)
            assert made.counts == at_once.counts
