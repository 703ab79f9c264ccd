from penstock.core.ages import STEPS_PER_AGE, Ages


def test_messages_are_too_old_after_the_age_and_at_most_a_step_later() -> None:
    ages = Ages(1280)
    assert ages.step_ms == 10
    ages.note(0, 1000)
    ages.note(3, 1009)
    ages.note(5, 1010)
    assert ages.next_due_ms() == 1000 + 10 + 1280
    assert ages.age(2289, 9) == 0
    assert ages.age(2290, 9) == 5, "what is of one mark leaves together, when its youngest is old enough"
    assert ages.age(2300, 9) == 9
    assert ages.next_due_ms() is None


def test_marks_are_as_many_as_the_age_has_steps() -> None:
    ages = Ages(STEPS_PER_AGE * 10)
    for number in range(100_000):
        ages.note(number, number)
        ages.age(number, number + 1)
    assert len(ages.state()[1]) <= STEPS_PER_AGE + 2


def test_an_age_below_the_steps_is_exact_to_the_millisecond() -> None:
    ages = Ages(5)
    ages.note(0, 100)
    assert (ages.age(105, 1), ages.age(106, 1)) == (0, 1)


def test_ages_come_back_from_their_state() -> None:
    ages = Ages(1000)
    ages.note(0, 0)
    ages.note(4, 500)
    ages.age(1100, 9)
    again = Ages(1000)
    again.restore(ages.state())
    assert again.state() == ages.state()
    assert again.aged_offset == 4
    assert again.age(5000, 9) == 9


def test_with_another_age_nothing_is_too_old_early() -> None:
    before = Ages(12_800)
    before.note(0, 1000)
    before.note(1, 1099)  # of the mark before
    before.note(2, 1100)
    shorter, longer = Ages(1280), Ages(128_000)
    shorter.take_over(before)
    longer.take_over(before)
    assert (shorter.age(1099 + 1280, 3), shorter.age(1100 + 1280, 3), shorter.age(1200 + 1280, 3)) == (0, 2, 3)
    assert (longer.age(1099 + 128_000, 3), longer.age(2000 + 128_000, 3)) == (0, 2)
