#!/usr/bin/env python3
"""Checks the dashboard in headless Chromium: run by hand.

    pip install playwright            # no browser of its own is needed
    Tests/Dashboard/check.py [--binary .build/debug/chainserve] [--chromium /usr/bin/chromium] [--shots FOLDER]

Starts an emulated pool, looks at the page at three sizes, light and dark, while nothing runs, under load, and with a
block server that hangs; uses it with the keyboard alone, kills a block server and then the service, and starts the
service again. Ends with status 1 when something is not as it must be,
77 when Chromium or playwright is not there.
"""
import argparse, json, os, re, shutil, signal, subprocess, sys, tempfile, threading, time, urllib.request

try:
    from playwright.sync_api import sync_playwright
except ImportError:
    print("skipped: playwright is not there (pip install playwright)")
    sys.exit(77)

POOL = """
engine: emulated
model: {name: toy, block_count: 14, block_size: 132 MB, cache_size: 11 MB}
demand: {arrival_rate: 1.2, mean_input_tokens: 20, mean_output_tokens: 40}
servers:
  - {name: amber, memory: 1200 MB, communication_time: 80 ms, block_time: 40 ms}
  - {name: birch, memory: 1000 MB, communication_time: 80 ms, block_time: 40 ms}
  - {name: "<b>cedar</b>", memory: 1000 MB, communication_time: 100 ms, block_time: 60 ms}
  - {name: delta, memory: 1400 MB, communication_time: 120 ms, block_time: 60 ms}
  - {name: ember, memory: 800 MB, communication_time: 100 ms, block_time: 50 ms}
"""
SIZES = {"phone": (390, 844), "tablet": (820, 1180), "desk": (1440, 900)}
failures = []


def expect(condition, what):
    print(("ok    " if condition else "FAILED  ") + what)
    if not condition:
        failures.append(what)


class Service:
    def __init__(self, binary, folder, port=0):
        self.log = open(os.path.join(folder, "log"), "w+")
        file = os.path.join(folder, "pool.yaml")
        with open(file, "w") as out:
            out.write(POOL)
        self.process = subprocess.Popen(
            [binary, "up", file, "--no-prompt", "--port", str(port)], stdout=self.log, stderr=self.log)
        deadline = time.time() + 60
        while time.time() < deadline:
            with open(self.log.name) as text:
                found = re.search(r"^serving .* at http://127\.0\.0\.1:(\d+)/v1", text.read(), re.M)
            if found:
                self.port = int(found.group(1))
                self.url = f"http://127.0.0.1:{self.port}"
                return
            time.sleep(0.1)
        raise SystemExit("the service did not start: " + open(self.log.name).read())

    def ask(self, tokens=30):
        body = {"model": "toy", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": tokens}
        request = urllib.request.Request(self.url + "/v1/chat/completions", json.dumps(body).encode())
        return urllib.request.urlopen(request, timeout=200).read()

    def status(self):
        return json.load(urllib.request.urlopen(self.url + "/status", timeout=10))

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(20)


def load(service, count, tokens=30):
    threads = [threading.Thread(target=service.ask, args=(tokens,)) for _ in range(count)]
    for thread in threads:
        thread.start()
    return threads


def open_page(browser, service, size, scheme, messages, requests):
    context = browser.new_context(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)
    page = context.new_page()
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(service.url + "/", wait_until="commit")
    page.wait_for_selector("#servers tbody tr", timeout=20000)
    return page


def look(browser, service, shots, state):
    for name, size in SIZES.items():
        for scheme in ("light", "dark"):
            messages, requests = [], []
            page = open_page(browser, service, size, scheme, messages, requests)
            page.wait_for_timeout(2500)
            where = f"{state}, {name}, {scheme}: "
            overflow = page.evaluate("document.documentElement.scrollWidth - innerWidth")
            expect(overflow <= 0, where + "nothing is wider than the window")
            expect(not messages, where + f"no errors, no violation of the policy {messages}")
            expect(all(url.startswith((service.url, "data:")) for url in requests), where + "nothing from elsewhere")
            expect(page.locator("#servers tbody tr").count() == 5, where + "five servers")
            expect(page.locator("#connection").inner_text() == "live", where + "live")
            hidden = page.evaluate(
                "[...document.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth + 1).map(e => "
                "e.getAttribute('aria-labelledby'))")
            expect(not hidden, where + f"no table needs to be moved sideways {hidden}")
            cut = page.evaluate(
                "[...document.querySelectorAll('td:not(.minor), th:not(.minor), dd, dt, h1, h2, .chip')].filter(e => "
                "e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).display !== 'inline').map(e => e.textContent)")
            expect(not cut, where + f"no text is cut off {cut}")
            if state == "lost":
                expect("closed: amber is lost" in page.locator("#chains").inner_text(), where + "chains are closed")
            if shots:
                page.screenshot(path=os.path.join(shots, f"{state}-{name}-{scheme}.png"), full_page=True)
            page.context.close()


def wait(page, condition, seconds):
    """Until a condition in JavaScript holds. Playwright's own wait needs `eval`, which the page's policy forbids."""
    deadline = time.time() + seconds
    while not page.evaluate(condition):
        if time.time() > deadline:
            raise SystemExit(f"not within {seconds} s: {condition}")
        page.wait_for_timeout(100)


def structure(page):
    expect(page.evaluate("document.documentElement.lang") == "en", "the language is said")
    for tag in ("header", "main", "footer", "h1"):
        expect(page.locator(tag).count() == 1, f"one {tag}")
    expect(page.evaluate("[...document.querySelectorAll('table')].every(t => t.caption && t.caption.textContent)"),
           "every table has a caption")
    expect(page.evaluate("[...document.querySelectorAll('thead th')].every(h => h.scope === 'col')")
           and page.evaluate("[...document.querySelectorAll('tbody th')].every(h => h.scope === 'row')"),
           "headings say what they head")
    expect(page.evaluate("[...document.querySelectorAll('section')].every(s => "
                         "document.getElementById(s.getAttribute('aria-labelledby')))"), "every section is named")
    expect(page.locator("[aria-live=polite]").count() == 1, "news are told politely")
    expect(page.evaluate("[...document.querySelectorAll('meter')].every(m => m.getAttribute('aria-label'))"),
           "every meter is named")
    names = page.locator("#servers tbody th").all_inner_texts()
    expect("<b>cedar</b>" in names, "names are text and no markup")


def keyboard(page):
    page.evaluate("document.activeElement.blur()")
    seen = []
    for _ in range(12):
        page.keyboard.press("Tab")
        seen.append(page.evaluate(
            "(e => e.className === 'skip' ? 'skip' : e.getAttribute('aria-labelledby') || e.getAttribute('href') || "
            "e.tagName)(document.activeElement)"))
    expect(seen[0] == "skip", f"the first stop leads past the header {seen}")
    for wanted in ("response-caption", "servers-caption", "chains-caption", "/metrics", "/status"):
        expect(wanted in seen, f"{wanted} is reached by keyboard")
    page.locator(".skip").focus()
    page.keyboard.press("Enter")
    expect(page.evaluate("document.activeElement.id") == "main", "the skip link leads to the pool")


def live(browser, service, binary, folder):
    messages, requests = [], []
    page = open_page(browser, service, SIZES["desk"], "light", messages, requests)
    structure(page)
    keyboard(page)
    # Long enough to be seen: the page looks once a second.
    threads = load(service, 18)
    wait(page, "Number(document.getElementById('running').textContent) > 0", 10)
    wait(page, "Number(document.getElementById('queue').textContent) > 0", 10)
    expect(True, "running and waiting requests are shown")
    for thread in threads:
        thread.join()
    wait(page, "document.getElementById('running').textContent === '0'", 10)
    wait(page, "document.querySelector('#response tbody td').textContent !== '–'", 10)
    expect("Predicted mean" in page.locator("#scale-text").inner_text(), "the prediction is told in words")
    # Not the first, whose loss was an event before.
    victim = [s for s in service.status()["servers"] if s["block_count"] > 0][-1]
    os.kill(victim["pid"], signal.SIGKILL)
    wait(page, f"document.getElementById('events').textContent.includes('{victim['name']} is lost')", 20)
    expect(victim["name"] in page.locator("#news").inner_text(), "a loss is told to screen readers")
    wait(page, f"document.querySelector('#events li').textContent.includes('ready')", 20)
    expect(True, "its return is told")
    port = service.port
    service.stop()
    page.wait_for_selector("#stale:not([hidden])", timeout=20000)
    expect(page.locator("#connection").inner_text() == "stale", "old figures are said to be old")
    again = Service(binary, folder, port)
    page.wait_for_selector("#stale", state="hidden", timeout=30000)
    expect(page.locator("#connection").inner_text() == "live", "it connects again by itself")
    return again


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", default=".build/debug/chainserve")
    parser.add_argument("--chromium", default=shutil.which("chromium") or "/usr/bin/chromium")
    parser.add_argument("--shots")
    options = parser.parse_args()
    if not os.access(options.chromium, os.X_OK):
        print("skipped: Chromium is not there")
        sys.exit(77)
    if options.shots:
        os.makedirs(options.shots, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        service = Service(options.binary, folder)
        try:
            browser = playwright.chromium.launch(
                executable_path=options.chromium, args=["--no-sandbox", "--disable-gpu"])
            look(browser, service, options.shots, "empty")
            threads = load(service, 8, 400)
            look(browser, service, options.shots, "load")
            hung = next(s for s in service.status()["servers"] if s["block_count"] > 0)
            os.kill(hung["pid"], signal.SIGSTOP)
            while any(s["state"] != "lost" for s in service.status()["servers"] if s["name"] == hung["name"]):
                time.sleep(0.2)
            look(browser, service, options.shots, "lost")
            os.kill(hung["pid"], signal.SIGCONT)
            for thread in threads:
                thread.join()
            while any(s["state"] != "ready" for s in service.status()["servers"] if s["block_count"] > 0):
                time.sleep(0.2)
            service = live(browser, service, options.binary, folder)
            browser.close()
        finally:
            service.stop()
    print(f"{len(failures)} failures")
    sys.exit(1 if failures else 0)


main()
