# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from bench.page import (
    build_table,
    DEFAULT_MODEL_PAGE,
    describe_spread,
    read_section,
    write_section,
)
from rgbt_perception.errors import ConfigError


def test_numbers_have_three_digits_and_what_is_missing_is_empty():
    assert build_table(['', 'a', 'b'], [['x', 0.12345, None], ['y', 1.0, 'n/a']]) == (
        '|  | a | b |\n| --- | ---: | ---: |\n| x | 0.123 |  |\n| y | 1.000 | n/a |'
    )


def test_a_median_stands_with_its_range():
    values = {'median': 0.5, 'min': 0.25, 'max': 0.75, 'ratio': 1.0}
    assert describe_spread(values) == '0.500 (0.250 to 0.750)'
    assert describe_spread(values, ('ratio', 'min', 'max')) == '1.000 (0.250 to 0.750)'


def test_a_section_is_replaced_and_the_rest_of_the_page_stays(tmp_path):
    page = tmp_path / 'page.md'
    page.write_text('head\n<!-- begin one -->\nold\n<!-- end one -->\ntail\n')
    for text in ('new\n', 'newer'):
        write_section(page, 'one', text)
    assert read_section(page, 'one') == 'newer'
    assert page.read_text() == 'head\n<!-- begin one -->\n\nnewer\n\n<!-- end one -->\ntail\n'


@pytest.mark.parametrize('text', ['nothing', '<!-- begin one -->', '<!-- end one -->'])
def test_a_page_without_the_section_is_left_alone(tmp_path, text):
    page = tmp_path / 'page.md'
    page.write_text(text)
    with pytest.raises(ConfigError, match=r"has no section 'one', expected .*; add them"):
        write_section(page, 'one', 'new')
    assert page.read_text() == text


@pytest.mark.parametrize('name', ['conditions', 'real_images', 'dominance'])
def test_the_page_of_the_default_model_has_every_section(name):
    text = DEFAULT_MODEL_PAGE.read_text(encoding='utf-8')
    assert text.index(f'<!-- begin {name} -->') < text.index(f'<!-- end {name} -->')
