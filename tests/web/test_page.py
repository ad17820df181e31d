"""The live page in Node and in a real browser: `web/test/` has the tests, and this file runs them."""

import shutil

import pytest
from facts import WEB

pytestmark = pytest.mark.slow


def test_tokens_noise_and_schedule_are_pythons(run_node):
    run_node("numbers.test.mjs")


def test_pictures_are_pythons(run_node):
    run_node("pictures.test.mjs")


def test_in_a_browser(run_node):
    if shutil.which("chromium") is None:
        pytest.skip("chromium is not installed")
    if not (WEB / "node_modules" / "playwright-core").is_dir():
        pytest.skip("the browser's driver is not installed: cd web && npm ci --ignore-scripts")
    run_node("browser.test.mjs")
