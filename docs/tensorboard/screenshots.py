#!/usr/bin/env python3
"""Takes a picture of each TensorBoard tab for a log folder, in headless Chromium, once the tab shows its data.

    pip install tensorboard selenium
    apt-get install chromium chromium-driver
    python docs/tensorboard/screenshots.py LOGDIR PICTURES [--tabs scalars,projector,...]

LOGDIR is a folder of runs, or one run's folder. The script starts TensorBoard on a free local port and stops it at the end. It fails where a tab does
not show what it waits for; look at the pictures all the same.
"""

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

from selenium import webdriver
from selenium.common.exceptions import JavascriptException
from selenium.webdriver.chrome.service import Service

# TensorBoard nests its pages in shadow roots and, for some tabs, in iframes: this finds elements through all of them.
DEEP = r"""
const deep = (selector, root = document) => {
  const found = [...root.querySelectorAll(selector)];
  for (const element of root.querySelectorAll('*')) {
    if (element.shadowRoot) found.push(...deep(selector, element.shadowRoot));
    if (element.tagName === 'IFRAME' && element.contentDocument) found.push(...deep(selector, element.contentDocument));
  }
  return found;
};
const visible = (element) => element.getClientRects().length > 0;
const all_text = (element) => element.textContent + deep('*', element.shadowRoot || element).map((inner) => inner.textContent).join('');
const paths = () => deep('svg path').filter(visible).length;
const cells = () => deep('vaadin-grid-cell-content').filter((cell) => visible(cell) && /\S/.test(all_text(cell))).length;
const projector = () => deep('vz-projector')[0];
"""

# The folder's full name, which is nobody's business in a picture.
HIDE = "deep('#data-location, .data-location').forEach((element) => { element.style.display = 'none'; });"

# Per tab: width and height of the page, a script that is true once the data is drawn, and scripts that then do something, true once it is done.
TABS = {
    "scalars": ((1400, 1750), "return deep('vz-line-chart2, line-chart').filter(visible).length > 0 && deep('tf-scalar-card').some(visible);", []),
    "histograms": ((1400, 1300), "return deep('vz-histogram-timeseries, tf-histogram-card, histogram-card').some(visible) && paths() > 20;", []),
    "distributions": ((1400, 1300), "return deep('vz-distribution-chart').some(visible) && paths() > 5;", []),
    "hparams": ((2000, 640), "return cells() > 5;", []),
    "pr_curves": ((1400, 900), "return deep('vz-line-chart2').some(visible) && paths() > 5;", []),
    "text": ((1400, 900), "return deep('tf-markdown-view, tf-text-loader').some((view) => visible(view) && /\\S/.test(all_text(view)));", []),
    "projector": (
        (1600, 1000),
        # The points are there and projected.
        "return projector() && projector().dataSet && projector().dataSet.points.length > 0 && deep('canvas').some(visible);",
        [
            # Colour by the first column that can be a colour, then select the first point: its neighbours are listed.
            "const panel = deep('vz-projector-data-panel')[0];"
            "const option = (panel.colorOptions || []).find((option) => option.map);"
            "if (option) panel.selectedColorOptionName = option.name;"
            "return true;",
            "projector().notifySelectionChanged([0]); return deep('.nn .neighbor').length > 0;",
        ],
    ),
}


def free_port():
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


def start_tensorboard(logdir, log):
    port = free_port()
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", logdir, "--host", "localhost", "--port", str(port)]
    return subprocess.Popen(command, stdout=log, stderr=log), f"http://localhost:{port}"


def wait_for_data(server, address, tabs, log, seconds=120):
    """Until TensorBoard says that each tab has something to show."""
    end = time.monotonic() + seconds
    lacking = tabs
    while time.monotonic() < end and server.poll() is None:
        try:
            with urllib.request.urlopen(address + "/data/plugins_listing", timeout=5) as answer:
                plugins = json.load(answer)
            lacking = [tab for tab in tabs if not plugins.get(tab, {}).get("enabled")]
            if not lacking:
                return
        except OSError:
            pass
        time.sleep(0.5)
    with open(log.name, encoding="utf-8", errors="replace") as said:
        raise SystemExit(f"TensorBoard has nothing to show in {', '.join(lacking)}; it said:\n{said.read()}")


def start_browser(profile):
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    for flag in (
        "headless",
        "no-sandbox",
        "disable-gpu",
        # The projector draws with WebGL, without a graphics card too.
        "use-angle=swiftshader",
        "enable-unsafe-swiftshader",
        "disable-quic",
        "no-first-run",
        "disable-background-networking",
        "disable-component-update",
        "disable-sync",
        "hide-scrollbars",
        f"user-data-dir={profile}",
    ):
        options.add_argument("--" + flag)
    return webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))


def wait(browser, script, seconds=90):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if browser.execute_script(DEEP + script):
                return True
        except JavascriptException:
            pass
        time.sleep(0.5)
    return False


def take(browser, address, name, folder):
    (width, height), ready, acts = TABS[name]
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    )
    browser.get("about:blank")
    browser.get(f"{address}/?darkMode=false#{name}")
    shown = wait(browser, ready)
    for act in acts:
        time.sleep(2)
        shown = shown and wait(browser, act, 30)
    time.sleep(3)  # animations
    browser.execute_script(DEEP + HIDE)
    path = os.path.join(folder, f"{name}.png")
    browser.save_screenshot(path)
    print(f"{'ok     ' if shown else 'FAILED '} {path}")
    return shown


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("logdir", metavar="LOGDIR")
    parser.add_argument("pictures", metavar="PICTURES", help="the folder for the PNG files")
    parser.add_argument("--tabs", default=",".join(TABS), help="which tabs (default: %(default)s)")
    arguments = parser.parse_args()
    tabs = arguments.tabs.split(",")
    unknown = sorted(set(tabs) - set(TABS))
    if unknown:
        parser.error(f"unknown tab {', '.join(unknown)}")
    os.makedirs(arguments.pictures, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch, open(os.path.join(scratch, "tensorboard.log"), "w") as log:
        server, address = start_tensorboard(os.path.abspath(arguments.logdir), log)
        browser = None
        try:
            wait_for_data(server, address, tabs, log)
            browser = start_browser(os.path.join(scratch, "profile"))
            shown = [take(browser, address, name, arguments.pictures) for name in tabs]
        finally:
            if browser is not None:
                browser.quit()
            server.terminate()
            server.wait()
    sys.exit(0 if all(shown) else 1)


if __name__ == "__main__":
    main()
