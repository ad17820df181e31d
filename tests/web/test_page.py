"""The live page in Node and in a real browser: `web/test/` has the tests, and this file runs them."""

import shutil

import pytest
from facts import WEB

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("file", ["numbers.test.mjs", "pictures.test.mjs"])
def test_the_page_computes_what_python_computes(run_node, site, facts, file):
    run_node(file, site, facts)


@pytest.mark.parametrize("file", ["numbers.test.mjs", "pictures.test.mjs"])
def test_so_does_the_page_of_a_model_of_other_sizes(run_node, other_site, other_facts, file):
    run_node(file, other_site[1], other_facts)


def test_in_a_browser(run_node, site, facts):
    if shutil.which("chromium") is None:
        pytest.skip("chromium is not installed")
    if not (WEB / "node_modules" / "playwright-core").is_dir():
        pytest.skip("the browser's driver is not installed: cd web && npm ci --ignore-scripts")
    run_node("browser.test.mjs", site, facts)
