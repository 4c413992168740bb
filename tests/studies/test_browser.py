"""A study's report and TensorBoard in a real browser."""

import math
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from selenium.webdriver import ActionChains, Chrome
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from support.studies import quiet, study_of
from support.waiting import served, wait_until

from resnet_degradation.config.identity import run_folder
from resnet_degradation.figures.drawing import Drawing
from resnet_degradation.studies.command import run_study
from resnet_degradation.studies.definition import Study
from resnet_degradation.studies.report import write_report

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
# All text of a page, including the text in shadow roots.
TEXT = """
const parts = [];
const walk = node => {
  if (node.nodeType === Node.TEXT_NODE && node.data.trim()) parts.push(node.data.trim());
  if (["STYLE", "SCRIPT"].includes(node.tagName)) return;
  if (node.shadowRoot) walk(node.shadowRoot);
  node.childNodes.forEach(walk);
};
walk(document.body);
return parts.join("\\n");
"""
# The number of loaded images of the page, including images in shadow roots.
NUM_IMAGES = """
let count = 0;
const walk = node => {
  if (node.tagName === "IMG" && node.naturalWidth > 0) count += 1;
  if (node.shadowRoot) walk(node.shadowRoot);
  node.childNodes.forEach(walk);
};
walk(document.body);
return count;
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Chrome]:
    """A headless Chromium; the tests are skipped if it is not installed."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    driver = shutil.which("chromedriver")
    if found is None or driver is None:
        pytest.skip(f"no browser: looked for {', '.join(BROWSERS)}, and for chromedriver")
    options = Options()
    options.binary_location = found
    for argument in (
        *("headless=new", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run"),
        *("disable-background-networking", "disable-component-update", "disable-sync"),
        *("disable-dev-shm-usage", "window-size=1300,1000"),
    ):
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    with Chrome(options=options, service=Service(driver)) as chrome:
        yield chrome


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A finished study of four tiny nets with two seeds."""
    figures = "study.figures=[curves,depths]"
    study = study_of(tmp_path_factory.mktemp("study"), "seeds=[0,1]", figures)
    run_study(study, quiet())
    return study


def prefer(browser: Chrome, scheme: str) -> None:
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def column(browser: Chrome, table: str, number: int) -> list[str]:
    rows = browser.find_elements(By.CSS_SELECTOR, f"#{table} tbody tr")
    return [row.find_elements(By.CSS_SELECTOR, "th, td")[number].text for row in rows]


@pytest.mark.slow
def test_the_report_opens_without_network_or_errors(browser: Chrome, study: Study) -> None:
    browser.get((study.folder / "report.html").resolve().as_uri())
    assert browser.title == study.name  # its nets are not those that the study's title names
    assert not [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    requests = [
        entry["message"]
        for entry in browser.get_log("performance")
        if "Network.requestWillBeSent" in entry["message"] and "http" in entry["message"]
    ]
    assert not [request for request in requests if '"url":"http' in request]
    image = browser.find_element(By.CSS_SELECTOR, "figure img")
    assert browser.execute_script("return arguments[0].naturalWidth", image) > 300


# The faults of the page as it is shown, one sentence for each. The images of figures are put into
# the page at their size, so that their text can be measured like other text.
FAULTS = """
const faults = [], root = document.documentElement;
const parts = colour => colour.match(/[\\d.]+/g).map(Number);
const luminance = colour => [0.2126, 0.7152, 0.0722].reduce((sum, weight, k) => {
  const share = parts(colour)[k] / 255;
  return sum + weight * (share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4);
}, 0);
const check = (element, colour) => {
  let below = element;
  const background = () => getComputedStyle(below ?? document.body).backgroundColor;
  while (below && (parts(background())[3] ?? 1) === 0) below = below.parentElement;
  const paper = background();
  const [dark, light] = [luminance(colour), luminance(paper)].sort((a, b) => a - b);
  const ratio = (light + 0.05) / (dark + 0.05);
  if (ratio < 4.5) faults.push(`contrast ${ratio.toFixed(2)}: ${element.textContent.trim()}`);
};
document.querySelectorAll("details").forEach(details => { details.open = true; });
if (root.scrollWidth > innerWidth) faults.push(`the page is ${root.scrollWidth} pixels wide`);
const isText = node => node.nodeType === Node.TEXT_NODE && node.data.trim();
for (const element of document.querySelectorAll("body *:not(script)"))
  if ([...element.childNodes].some(isText) && element.offsetWidth)
    check(element, getComputedStyle(element).color);
const all = (selector, isFaulty, what) => document.querySelectorAll(selector).forEach(element => {
  if (isFaulty(element)) faults.push(`${what}: ${element.outerHTML.slice(0, 80)}`);
});
all("th button, summary, td a", target => target.offsetHeight < 24, "small target");
all("img, svg, [role=region]", element => !(element.alt || element.ariaLabel), "no name");
all("th", head => !head.scope, "no scope");
let level = 0;
all("h1, h2, h3, h4, h5, h6", head => +head.tagName[1] > level + 1 || !(level = +head.tagName[1]),
    "a level is skipped");
for (const image of document.querySelectorAll("figure img")) {
  const bytes = Uint8Array.from(atob(image.currentSrc.split(",")[1]), one => one.charCodeAt());
  const holder = document.createElement("div"), text = new TextDecoder().decode(bytes);
  holder.style.cssText = `position:absolute;left:0;top:0;width:${image.clientWidth}px`;
  holder.append(new DOMParser().parseFromString(text, "image/svg+xml").documentElement);
  const svg = holder.firstChild;
  svg.setAttribute("width", "100%");
  svg.removeAttribute("height");
  document.body.append(holder);
  const scale = image.clientWidth / svg.viewBox.baseVal.width, edge = svg.getBoundingClientRect();
  const boxes = [...svg.querySelectorAll("text")].map(element => {
    const box = element.getBoundingClientRect();
    const size = scale * parseFloat(getComputedStyle(element).fontSize);
    if (size < 12) faults.push(`${size.toFixed(1)} pixels: ${element.textContent}`);
    if (box.left < edge.left - 1 || box.right > edge.right + 1 || box.top < edge.top - 1
        || box.bottom > edge.bottom + 1) faults.push(`outside: ${element.textContent}`);
    check(element, getComputedStyle(element).fill);
    return [element.textContent, box];
  });
  boxes.forEach(([one, a], place) => boxes.slice(place + 1).forEach(([other, b]) => {
    const across = Math.min(a.right, b.right) - Math.max(a.left, b.left);
    const down = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
    if (across > 1 && down > 4) faults.push(`${one} over ${other}`);
  }));
  if (boxes.length < 5) faults.push("a figure without text");
  holder.remove();
}
return faults;
"""


def show_at(browser: Chrome, width: int) -> None:
    """Show pages at the width of this screen; narrow ones are those of a phone."""
    size = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": width < 600})


@pytest.fixture
def phone(browser: Chrome) -> Iterator[Chrome]:
    """The browser with the screen of a phone."""
    show_at(browser, 390)
    yield browser
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": False})


@pytest.mark.slow
def test_the_report_can_be_read_on_a_phone_and_on_a_desk_light_or_dark(
    phone: Chrome, study: Study
) -> None:
    shapes = {}
    for width in (390, 1280):
        show_at(phone, width)
        for scheme in ("light", "dark"):
            prefer(phone, scheme)
            phone.get((study.folder / "report.html").resolve().as_uri())
            assert phone.execute_script(FAULTS) == [], (width, scheme)
        image = phone.find_element(By.CSS_SELECTOR, "figure img")
        shapes[width] = image.size["height"] / image.size["width"]
        # A wide table has its own scroll bar.
        parent = "const {scrollWidth, clientWidth} = document.querySelector('#nets').parentElement;"
        scrolls = f"{parent} return scrollWidth > clientWidth"
        assert phone.execute_script(scrolls) == (width == 390)
    prefer(phone, "light")
    assert shapes[390] > 1 > shapes[1280]  # panels below each other, and side by side


@pytest.mark.slow
def test_values_stay_where_a_finger_touched_and_follow_the_arrow_keys(
    phone: Chrome, study: Study
) -> None:
    phone.get((study.folder / "report.html").resolve().as_uri())
    figure = phone.find_element(By.TAG_NAME, "figure")
    tip = figure.find_element(By.CLASS_NAME, "tip")

    def touch(x: float, y: float) -> None:
        for kind, points in (("touchStart", [{"x": x, "y": y}]), ("touchEnd", [])):
            event = {"type": kind, "touchPoints": points}
            phone.execute_cdp_cmd("Input.dispatchTouchEvent", event)

    box = figure.rect
    touch(box["x"] + box["width"] * 0.6, box["y"] + box["height"] * 0.2)
    wait_until(tip.is_displayed)
    assert len(tip.text.split("\n")) == 5
    assert "plain-14-width0.5 training" in tip.text
    assert tip.rect["x"] >= 0
    assert tip.rect["x"] + tip.rect["width"] <= 390
    touch(50, 20)
    wait_until(lambda: not tip.is_displayed())
    seen = []
    for _ in range(4):
        figure.send_keys(Keys.ARROW_RIGHT)
        seen.append(tip.text.split("\n")[0])
    figure.send_keys(Keys.ARROW_LEFT)
    assert seen == ["iterations 2", "iterations 4", "iterations 6", "iterations 2"]  # two panels
    assert tip.text.startswith("iterations 6")
    figure.send_keys(Keys.ESCAPE)
    assert not tip.is_displayed()


@pytest.mark.slow
def test_a_table_sorts_by_the_column_that_is_clicked(browser: Chrome, study: Study) -> None:
    browser.get((study.folder / "report.html").resolve().as_uri())
    as_given = column(browser, "nets", 0)
    assert as_given == [f"{k}-{d}-width0.5" for k in ("plain", "ResNet") for d in (8, 14)]
    heads = browser.find_elements(By.CSS_SELECTOR, "#nets thead th")
    errors = [float(text.split(" ")[0]) for text in column(browser, "nets", 3)]
    for direction, reverse in (("ascending", False), ("descending", True)):
        heads[3].find_element(By.TAG_NAME, "button").click()
        assert heads[3].get_attribute("aria-sort") == direction
        shown = [float(text.split(" ")[0]) for text in column(browser, "nets", 3)]
        assert shown == sorted(errors, reverse=reverse)
    heads[0].find_element(By.TAG_NAME, "button").click()
    assert column(browser, "nets", 0) == as_given
    assert heads[3].get_attribute("aria-sort") is None


@pytest.mark.slow
def test_curves_show_their_values_under_the_pointer(browser: Chrome, study: Study) -> None:
    from resnet_degradation.figures.curves import load_curves

    browser.get((study.folder / "report.html").resolve().as_uri())
    figure = browser.find_element(By.TAG_NAME, "figure")
    tip = figure.find_element(By.CLASS_NAME, "tip")
    assert not tip.is_displayed()
    left, right = (-figure.size["width"] // 4, figure.size["width"] // 4)
    nets = load_curves([run_folder(run) for run in study.runs])
    for offset, shown in ((left, nets[:2]), (right, nets[2:])):
        ActionChains(browser).move_to_element_with_offset(figure, offset, 0).perform()
        assert tip.is_displayed()
        lines = tip.text.splitlines()
        assert lines[0].startswith("iterations ")
        iteration = float(lines[0].split()[1])
        for net in shown:
            at = net.train.x.tolist().index(iteration)
            value = float(net.train.mean[at])
            (matching,) = [line for line in lines if line.startswith(f"{net.name} training")]
            assert float(matching.split()[2]) == pytest.approx(value, rel=6e-3)
        assert len(lines) == 5
    ActionChains(browser).move_to_element(browser.find_element(By.TAG_NAME, "h1")).perform()
    assert not tip.is_displayed()


# The horizontal and the vertical scale of every panel of `scaled`.
SCALES = [("linear", "linear"), ("log", "log"), ("linear", "symlog"), ("log", "linear")]
POINTS = [(1.0, 0.0003), (40.0, 0.2), (300.0, 5.0), (1000.0, 4000.0)]


def scaled(folders: list[Path], drawing: Drawing, dark: bool) -> Figure:
    """Draw the same line on axes of several scales; the last axis runs from right to left."""
    figure = Figure(figsize=(8, 6))
    for axes, (horizontal, vertical) in zip(figure.subplots(2, 2).flat, SCALES, strict=True):
        axes.plot(*zip(*POINTS, strict=True), label="line")
        axes.plot([1, 40, 1000], [2000, math.nan, 3000], label="gap")
        axes.set(xlabel="x", xscale=horizontal, yscale=vertical)
    figure.axes[-1].invert_xaxis()
    return figure


@pytest.mark.slow
def test_values_under_the_pointer_are_right_on_axes_of_any_scale(
    phone: Chrome, study: Study, tmp_path: Path
) -> None:
    page = replace(study, figures=["test_browser:scaled"], folder=tmp_path)
    write_report(page, [], [])
    show_at(phone, 1300)
    phone.get((tmp_path / "report.html").resolve().as_uri())
    element = phone.find_element(By.TAG_NAME, "figure")
    tip, dot = (element.find_element(By.CLASS_NAME, name) for name in ("tip", "dot"))
    figure = scaled([], page.drawing, False)
    figure.draw_without_rendering()
    width, height = element.size["width"], element.size["height"]
    for axes in figure.axes:
        for x, y in POINTS:
            pixel = axes.transData.transform((x, y)) / figure.bbox.size  # from the lower left
            across, down = (pixel[0] - 0.5) * width, (0.5 - pixel[1]) * height
            ActionChains(phone).move_to_element_with_offset(element, across, down).perform()
            title, *lines = tip.text.splitlines()
            where = f"{axes.get_xscale()}, {axes.get_yscale()}: {x:g}, {y:g}"
            assert title == f"x {x:,g}", where
            assert float(next(t for t in lines if t.startswith("line")).split()[1]) == y, where
            assert ("(at" in tip.text) == (x in (40, 300)), where  # the other line has a gap there
            centre = [dot.location[k] - element.location[k] + 4 for k in ("x", "y")]
            assert dot.value_of_css_property("background-color") != "rgba(0, 0, 0, 0)"
            assert centre == pytest.approx([width / 2 + across, height / 2 + down], abs=3), where
    # It has no narrow layout: on a phone it keeps its size, and has its own scroll bar.
    show_at(phone, 390)
    assert phone.execute_script(FAULTS) == []
    assert element.size["width"] == width


@pytest.mark.slow
def test_the_report_follows_the_readers_light_or_dark(browser: Chrome, study: Study) -> None:
    page = (study.folder / "report.html").resolve().as_uri()
    seen = {}
    for scheme in ("light", "dark"):
        prefer(browser, scheme)
        browser.get(page)
        colour = browser.find_element(By.TAG_NAME, "body").value_of_css_property("background-color")
        image = browser.find_element(By.CSS_SELECTOR, "figure img")
        seen[scheme] = (colour, browser.execute_script("return arguments[0].currentSrc", image))
    prefer(browser, "light")
    assert seen["light"][0] == "rgba(255, 255, 255, 1)"
    assert seen["dark"][0] == "rgba(23, 26, 30, 1)"
    assert seen["light"][1] != seen["dark"][1]


@pytest.fixture(scope="module")
def tensorboard(study: Study) -> Iterator[str]:
    """The address of a TensorBoard that shows the study's runs."""
    with served(study.folder.parents[1]) as address:
        yield address


def opened(browser: Chrome, address: str, tab: str, expected: list[str]) -> str:
    """The text of a tab of TensorBoard, after it shows all of `expected`."""
    browser.get(f"{address}/#{tab}")
    browser.refresh()
    missing: list[str] = []

    def shown() -> bool:
        text = browser.execute_script(TEXT)
        missing[:] = [part for part in expected if part not in text]
        return not missing

    try:
        wait_until(shown)
    except AssertionError:
        pytest.fail(f"the tab {tab} does not show {missing}")
    return str(browser.execute_script(TEXT))


def run_names(study: Study) -> list[str]:
    outputs = study.folder.parents[1]
    return [run_folder(run).relative_to(outputs).as_posix() for run in study.runs]


@pytest.mark.slow
def test_tensorboard_shows_every_run_by_name_and_its_scalars(
    browser: Chrome, tensorboard: str, study: Study, tmp_path: Path
) -> None:
    names = run_names(study)
    assert names[0].startswith("digits/plain-8-width0.5-seed0-")
    opened(browser, tensorboard, "timeseries", [*names, "error"])
    tags = ["error", "loss", "learning_rate", "images_per_second", "final"]
    opened(browser, tensorboard, "scalars", [*names, *tags])
    opened(browser, tensorboard, "text", ["configuration"])


@pytest.mark.slow
def test_tensorboard_shows_the_images_that_a_net_is_given(
    browser: Chrome, tensorboard: str, study: Study
) -> None:
    opened(browser, tensorboard, "images", ["training images"])
    wait_until(lambda: browser.execute_script(NUM_IMAGES) >= len(study.runs))


@pytest.mark.slow
def test_tensorboard_compares_runs_in_its_hparams_table(
    browser: Chrome, tensorboard: str, study: Study
) -> None:
    expected = ["depth", "residual", "recipe.lr", "final/train_error", "TABLE VIEW"]
    text = opened(browser, tensorboard, "hparams", [*expected, *run_names(study)])
    assert f"Number of matching session groups: {len(study.runs)}" in " ".join(text.split())
