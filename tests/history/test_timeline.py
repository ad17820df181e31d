"""The timeline: dates against arXiv numbers, lineages against the READMEs, remarks against the code."""

import pytest

from tinyldm.history import timeline


def test_events_are_in_order_and_arxiv_numbers_agree_with_the_dates():
    dates = [e.date for e in timeline.EVENTS]
    assert dates == sorted(dates)
    for event in timeline.EVENTS:
        if event.source.startswith("arXiv"):
            number = event.source.split()[1]
            assert event.date[2:7].replace("-", "") == number[:4], event


def test_timeline_runs_from_2015_to_xl():
    assert timeline.EVENTS[0].date.startswith("2015") and timeline.EVENTS[-1].name == "Stable Diffusion XL"
    assert timeline.CHECKPOINTS[-1].name == "XL"


def test_13_14_15_are_siblings():
    for name in ("1.3", "1.4", "1.5"):
        assert timeline.lineage(name) == ["1.1", "1.2", name]
    assert timeline.thousand_steps("1.5") == 237 + 194 + 515 + 595
    assert timeline.thousand_steps("1.4") == 1171 and timeline.thousand_steps("XL") is None
    with pytest.raises(ValueError, match="no checkpoint '1.0'; there are 1.1, 1.2"):
        timeline.lineage("1.0")


def test_captions_are_dropped_from_13_on():
    dropped = {c.name: c.caption_dropout for c in timeline.CHECKPOINTS}
    assert [dropped[v] for v in ("1.1", "1.2", "1.3", "1.4", "1.5")] == [0.0, 0.0, 0.1, 0.1, 0.1]


def test_parents_come_first_and_15_is_longer_than_its_siblings():
    seen = set()
    for c in timeline.CHECKPOINTS:
        assert c.parent is None or c.parent in seen
        seen.add(c.name)
    siblings = [c for c in timeline.CHECKPOINTS if c.name in ("1.3", "1.4", "1.5")]
    steps = {c.name: sum(s.thousand_steps for s in c.stages) for c in siblings}
    assert steps["1.5"] > 2 * max(steps["1.3"], steps["1.4"])


def test_xl_is_three_times_larger_with_twice_the_context():
    by_name = {c.name: c for c in timeline.CHECKPOINTS}
    assert by_name["XL"].unet_parameters / by_name["1.5"].unet_parameters == pytest.approx(3, abs=0.1)
    assert by_name["XL"].context_width == 768 + 1280 and "+" in by_name["XL"].text_encoder


def test_remarks_point_at_code_that_exists():
    import importlib

    for remark in timeline.REMARKS:
        module, name = remark.seen_in.split(".")
        assert hasattr(importlib.import_module(f"tinyldm.history.{module}"), name)


def test_tables_are_whole_markdown():
    for text in (timeline.events_table(), timeline.checkpoints_table(), timeline.remarks_table()):
        widths = {line.count("|") for line in text.splitlines()}
        assert len(widths) == 1, widths
