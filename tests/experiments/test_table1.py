import pytest

from experiments.table1 import PAPER, count, main, parameter_table


@pytest.mark.parametrize(("depthwise", "printed"), [(False, 18_498_481), (True, 5_181_089)])
def test_the_printed_totals_come_out_when_counted_the_papers_way(depthwise, printed):
    assert count(depthwise, input_channels=12, output_channels=1).papers == printed


@pytest.mark.parametrize(("depthwise", "trains"), [(False, 18_415_575), (True, 5_102_035)])
def test_what_really_trains_is_smaller(depthwise, trains):
    assert count(depthwise, input_channels=3, output_channels=3).trained == trains


def test_the_parts_are_those_derived_for_the_table():
    printed = count(False, 12, 1)
    assert (printed.convolutions, printed.attention + printed.attention_mlps) == (17_272_577, 156_204)
    assert printed.discriminator == 1_069_700
    assert [sum(count(d, 3, 3)[:2]) for d in (False, True)] == [17_345_875, 4_032_335]


def test_the_table_shows_the_papers_numbers_and_ours(capsys):
    assert main([]) == 0
    text = parameter_table()
    assert capsys.readouterr().out.strip() == text.strip()
    for number in (*PAPER.values(), 18_415_575, 5_102_035):
        assert f"{number:,}" in text
