"""The report in a real browser: what moves on it, and that it asks nobody for anything.

Debian's chromium and its driver, or Chrome and its own; where there are none these tests are skipped, but not in CI.
"""

import csv
import json
import os
import shutil

import numpy as np
import pytest

from sagan_jax.report.page import write_report
from tests.run_folders import HOSTILE, make_split, write_run

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (BROWSER and DRIVER) and os.environ.get("CI") != "true",
    reason="there is no browser here: apt-get install chromium chromium-driver",
)
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    if not (BROWSER and DRIVER):
        pytest.fail("CI must have a browser: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield browser
    browser.quit()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run's folder, its test labels, scores and threshold."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    split = make_split()
    scores, threshold = write_run(folder, split)
    write_report(folder)
    return folder, split.test_labels, scores, np.float32(threshold)


@pytest.fixture
def page(browser, run):
    """The browser with the page just opened, on a desktop in the light; at the end its console must be empty."""
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    show(browser, 1280)
    browser.get_log("performance")  # what there was before is not the page's
    browser.get((run[0] / "report.html").as_uri())
    yield browser
    assert browser.get_log("browser") == []


def show(browser, width, mobile=False):
    metrics = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": mobile}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def find(page, id):
    from selenium.webdriver.common.by import By

    return page.find_element(By.ID, id)


def stops(scores, threshold):
    """The thresholds the slider can be set to: one under all scores, each score, the calibrated one."""
    return [-np.inf, *np.unique(np.append(scores, threshold))]


def numbers(page):
    """What the page says of the threshold: four counts, then recall, false positive rate, precision, F1, accuracy."""
    ids = ("true-positives", "false-positives", "false-negatives", "true-negatives")
    ids += ("recall", "false-positive-rate", "precision", "f1", "accuracy")
    return page.execute_script("return arguments[0].map((id) => document.getElementById(id).textContent)", ids)


def expected(labels, scores, threshold):
    """The same by NumPy."""
    called = scores > threshold
    tp, fp = int((called & labels).sum()), int((called & ~labels).sum())
    fn, tn = int((~called & labels).sum()), int((~called & ~labels).sum())
    precision = tp / (tp + fp) if tp + fp else None
    rates = (tp / (tp + fn), fp / (fp + tn), precision, 2 * tp / (2 * tp + fp + fn), (tp + tn) / len(labels))
    return [str(count) for count in (tp, fp, fn, tn)] + ["–" if r is None else f"{100 * r:.1f} %" for r in rates]


def position(page):
    return int(find(page, "threshold").get_property("value"))


def test_the_page_opens_at_the_calibrated_threshold_with_the_numbers_of_the_result(page, run):
    folder, labels, scores, threshold = run
    assert numbers(page) == expected(labels, scores, threshold)
    strict = json.loads((folder / "result.json").read_text())["strict"]["threshold"]
    assert find(page, "recall").text == f"{100 * strict['recall']:.1f} %"
    assert find(page, "false-positive-rate").text == f"{100 * strict['false_positive_rate']:.1f} %"
    assert "(calibrated)" in find(page, "threshold-value").text


def test_the_slider_moves_the_numbers_by_keyboard_and_the_button_moves_them_back(page, run):
    from selenium.webdriver.common.keys import Keys

    _, labels, scores, threshold = run
    slider, at = find(page, "threshold"), stops(scores, threshold)
    assert int(slider.get_property("max")) == len(at) - 1
    seen = set()
    for key in (Keys.HOME, Keys.ARROW_RIGHT, Keys.PAGE_UP, Keys.END, Keys.ARROW_LEFT, Keys.PAGE_DOWN):
        slider.send_keys(key)
        assert numbers(page) == expected(labels, scores, at[position(page)])
        seen.add(position(page))
    assert len(seen) == 6
    find(page, "reset").click()
    assert numbers(page) == expected(labels, scores, threshold)
    assert page.switch_to.active_element == slider


@pytest.mark.parametrize("plot", ["histogram", "roc", "pr"])
def test_the_threshold_is_dragged_in_the_plots(page, run, plot):
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.by import By

    _, labels, scores, threshold = run
    over = find(page, plot).find_element(By.CSS_SELECTOR, ".u-over")
    width = over.size["width"]
    found = []
    for share in (-0.45, -0.25):  # of the width, from the middle
        drag = ActionChains(page, duration=20).move_to_element(over).click_and_hold()
        drag.move_by_offset(round(share * width), 0).release().perform()
        found.append(position(page))
        assert numbers(page) == expected(labels, scores, stops(scores, threshold)[found[-1]])
    assert (found[0] < found[1]) == (plot == "histogram")  # left on a curve is up in the scores
    if plot == "roc":
        rate = float((scores[~labels] > stops(scores, threshold)[found[1]]).mean())
        assert rate == pytest.approx(0.25, abs=0.02)


def cards(page):
    """Names of the cards shown, in their order."""
    return page.execute_script(
        "return [...document.querySelectorAll('.card:not([hidden]) h3')].map((heading) => heading.textContent)"
    )


def choose(page, id, value):
    from selenium.webdriver.support.select import Select

    Select(find(page, id)).select_by_value(value)


def test_sorting_sorts(page, run):
    folder, _, _, threshold = run
    with (folder / "scores.csv").open(newline="") as file:
        scores = {row["id"]: float(row["score"]) for row in csv.DictReader(file)}
    shown = cards(page)
    assert len(shown) > 50
    assert [scores[name] for name in shown] == sorted((scores[name] for name in shown), reverse=True)
    choose(page, "order", "lowest")
    assert [scores[name] for name in cards(page)] == sorted(scores[name] for name in shown)
    choose(page, "order", "nearest")
    distances = [abs(scores[name] - threshold) for name in cards(page)]
    assert distances == sorted(distances)
    choose(page, "order", "name")
    plain = [name for name in cards(page) if name not in HOSTILE]
    assert plain == sorted(plain)
    assert set(cards(page)) == set(shown)


def test_the_filter_follows_the_threshold(page, run):
    from selenium.webdriver.common.keys import Keys

    folder, labels, scores, threshold = run
    ids = np.array(make_split().test_ids)
    everything = cards(page)
    choose(page, "filter", "abnormal called normal")
    missed = set(ids[labels & (scores <= threshold)])
    assert set(cards(page)) == missed & set(everything)
    assert find(page, "shown").text == f"{len(cards(page))} of {len(everything)} shown"
    find(page, "threshold").send_keys(Keys.HOME)
    assert cards(page) == []
    choose(page, "filter", "kind bent")
    assert 0 < len(cards(page)) < len(everything)


def test_hostile_names_are_shown_as_they_are_and_do_nothing(page):
    assert set(HOSTILE) <= set(cards(page))
    assert page.title == "screws & </title><script>alert(4)</script>, abnormal: scratched,bent"
    choose(page, "order", "name")
    assert set(HOSTILE) <= set(cards(page))
    # That no alert opened is in that every command above was answered.


def test_no_request_leaves_the_page(page, run):
    requests = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    urls = {r["params"]["request"]["url"] for r in requests if r["method"] == "Network.requestWillBeSent"}
    assert (run[0] / "report.html").as_uri() in urls
    assert {url.split(":")[0] for url in urls} <= {"file", "data"}
    assert {url for url in urls if url.startswith("file")} == {(run[0] / "report.html").as_uri()}


def test_every_control_and_image_has_a_name_for_a_screen_reader(page):
    nodes = page.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    named = [(n["role"]["value"], n.get("name", {}).get("value", "")) for n in nodes if not n.get("ignored")]
    controls = [(role, name) for role, name in named if role in ("slider", "button", "combobox", "image", "link")]
    assert {role for role, _ in controls} == {"slider", "button", "combobox", "image", "link"}
    assert all(name.strip() for _, name in controls)
    assert find(page, "threshold").get_attribute("aria-valuetext").endswith(find(page, "false-positive-rate").text)


def test_tab_reaches_the_threshold_and_the_focus_is_seen(page):
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.keys import Keys

    for _ in range(30):
        ActionChains(page).send_keys(Keys.TAB).perform()
        active = page.switch_to.active_element
        assert active.value_of_css_property("outline-style") == "solid"
        if active.get_attribute("id") == "threshold":
            return
    pytest.fail("the slider is not reached")


def test_a_phone_scrolls_down_only_and_its_plots_fit(page):
    show(page, 390, mobile=True)
    page.refresh()
    assert page.execute_script("return document.documentElement.scrollWidth") == 390
    widths = page.execute_script("return [...document.querySelectorAll('.plot canvas')].map((c) => c.clientWidth)")
    assert len(widths) == 6  # the histogram, both curves, and the losses of both networks and of held-out images
    assert all(300 < width <= 390 for width in widths)


def test_dark_is_dark_at_once_in_the_plots_too(page):
    def has_ink(color):
        return page.execute_script(
            "const canvas = document.querySelector('#roc canvas'), [r, g, b] = arguments[0];"
            "const copy = new OffscreenCanvas(canvas.width, canvas.height)"
            " .getContext('2d', {willReadFrequently: true});"
            "copy.drawImage(canvas, 0, 0);"
            "const ink = copy.getImageData(0, 0, canvas.width, canvas.height).data;"
            "for (let i = 0; i < ink.length; i += 4)"
            " if (ink[i] === r && ink[i + 1] === g && ink[i + 2] === b && ink[i + 3] === 255) return true;"
            "return false;",
            color,
        )

    blue, light_blue = (0x00, 0x72, 0xB2), (0x56, 0xB4, 0xE9)
    assert (has_ink(blue), has_ink(light_blue)) == (True, False)
    page.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    )
    background = "return getComputedStyle(document.body).backgroundColor"
    assert page.execute_script(background) == "rgb(18, 22, 27)"
    page.execute_script("return new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert (has_ink(blue), has_ink(light_blue)) == (False, True)
