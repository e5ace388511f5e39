"""The console in a real Chromium: what a person sees, hears and stores, and in which words it fails."""

from __future__ import annotations

import base64
import io
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import requests
import soundfile
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.helpers.browser import needs_chromium
from tests.helpers.local_cluster import local_cluster
from tests.helpers.server import ROOT, Server, recording, wait_until
from tests.server.http.console.conftest import Open

pytestmark = [pytest.mark.processes, needs_chromium]

STATIC = ROOT / "server" / "http" / "console" / "static"
MAX_BYTES = 300_000
LONG = "This sentence is one of many, and it goes on for a while. " * 12
TABS = ("speak", "voices", "compare", "use")
SLOW = 30_000
"""ms; on a busy machine."""


def speak(page: Page, text: str) -> None:
    page.fill("#text", text)
    page.click("#play")


def wait_for_end(page: Page) -> None:
    expect(page.locator("#rtf")).not_to_have_text("–", timeout=SLOW)


def violations(page: Page) -> list[tuple[str, list[str]]]:
    """What axe finds. It is run by the test, not by the page, whose policy forbids such scripts."""
    found = Axe().run(page).response["violations"]
    return [(each["id"], [node["html"] for node in each["nodes"]]) for each in found]


def test_the_first_sound_comes_before_the_last(open_page: Open) -> None:
    page = open_page()
    speak(page, LONG)
    expect(page.locator("#first-audio")).not_to_have_text("–", timeout=SLOW)
    assert page.text_content("#rtf") == "–"
    wait_for_end(page)
    assert float((page.text_content("#audio-length") or "").split()[0].replace(":", ".")) > 0
    assert re.fullmatch(r"\d+", page.text_content("#used-seed") or "")
    expect(page.locator("#history li")).to_have_count(1)


def test_the_sentence_that_is_heard_is_marked(open_page: Open) -> None:
    page = open_page()
    first, second = (
        f"This is the {number} of two sentences, and it goes on for a while" for number in ("first", "second")
    )
    speak(page, f"{first}. {second}.")
    for sentence in (first, second):
        expect(page.locator("#sentences span.spoken")).to_contain_text(sentence, timeout=SLOW)


def test_stop_is_silence_and_ends_the_work(open_page: Open, node: Server) -> None:
    page = open_page()
    with page.expect_response("**/v1/audio/speech") as response:
        speak(page, LONG)
    expect(page.locator("#first-audio")).not_to_have_text("–", timeout=SLOW)
    page.click("#stop")
    expect(page.locator("#status")).to_have_text("Stopped")
    request_id = response.value.headers["x-request-id"]

    def state() -> str:
        return str(requests.get(f"{node.url}/requests/{request_id}", timeout=5).json()["state"])

    wait_until(lambda: state() == "finished", "the server to stop working")
    assert requests.get(f"{node.url}/requests/{request_id}", timeout=5).json()["error"] == "cancelled"


def test_the_same_speech_can_be_downloaded_in_another_format(open_page: Open) -> None:
    page = open_page()
    speak(page, "A short one.")
    wait_for_end(page)
    for file_format, magic in (("wav", b"RIFF"), ("flac", b"fLaC")):
        page.select_option("#format", file_format)
        with page.expect_download() as download:
            page.click("#download")
        assert download.value.suggested_filename == f"speech.{file_format}"
        assert Path(download.value.path()).read_bytes().startswith(magic)


def test_past_utterances_are_kept_in_the_browser(open_page: Open) -> None:
    page = open_page()
    speak(page, "Remember this.")
    wait_for_end(page)
    expect(page.locator("#history li")).to_have_count(1)
    page.reload()
    expect(page.locator("#history li .what")).to_contain_text("Remember this.")


def test_the_browser_keeps_twenty_utterances(open_page: Open) -> None:
    page = open_page()
    kept = page.evaluate("""async () => {
        const { keep, utterances } = await import('/console/js/history.js');
        for (let i = 0; i < 22; i++) await keep({ text: `${i}`, seconds: 1 });
        return (await utterances()).map(({ text }) => text);
    }""")
    assert kept == [str(i) for i in range(21, 1, -1)]


def test_a_voice_is_cloned_without_being_stored(open_page: Open, node: Server, sound_file: Path) -> None:
    page = open_page()
    page.select_option("#voice", label="Your own voice")
    page.set_input_files("#clone-file", sound_file)
    expect(page.locator("#clone-checks li")).not_to_have_count(0)
    page.fill("#clone-transcript", "What I said.")
    with page.expect_request("**/v1/audio/speech") as request:
        speak(page, "In my voice.")
    wait_for_end(page)
    assert request.value.post_data_json["reference_text"] == "What I said."
    assert "voice" not in request.value.post_data_json
    names = [voice["name"] for voice in requests.get(f"{node.url}/voices", timeout=5).json()["voices"]]
    assert names == ["default", "mei"]


def test_a_style_is_deleted_alone(open_page: Open, node: Server) -> None:
    """And only of voices that can be changed."""
    for style in ("plain", "loud"):
        body = {"reference_audio": base64.b64encode(recording()).decode(), "style": style}
        assert requests.post(f"{node.url}/voices/two", json=body, timeout=30).ok
    page = open_page()
    page.click("#tab-voices")
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Delete: two, loud").click()
    expect(page.locator("#voice-status")).to_have_text("Deleted: two, loud")
    assert list(requests.get(f"{node.url}/voices/two", timeout=5).json()["styles"]) == ["plain"]
    page.get_by_role("button", name="Delete: two", exact=True).click()
    expect(page.locator("#voice-list > li", has_text="two")).to_have_count(0)


def test_where_no_voice_can_be_stored_the_page_says_so_and_clones(open_page: Open) -> None:
    """Before anyone has recorded something in vain."""
    with Server("fake:") as server:
        page = open_page(server.url)
        page.click("#tab-voices")
        expect(page.locator("#voices-closed-reason")).to_contain_text("GLMTTS_VOICES_DIR")
        expect(page.locator("#voice-form")).to_be_hidden()
        expect(page.get_by_role("button", name="Delete")).to_have_count(0)
        page.click("#clone-instead")
        expect(page.locator("#clone-record")).to_be_focused()


def test_a_voice_is_recorded_stored_and_deleted(open_page: Open, node: Server) -> None:
    page = open_page()
    page.click("#tab-voices")
    page.click("#voice-record")
    expect(page.locator("#voice-record")).to_contain_text("3.", timeout=SLOW)
    page.click("#voice-record")
    expect(page.locator("#voice-checks li")).not_to_have_count(0)
    page.fill("#voice-transcript", "Beep.")
    page.fill("#voice-name", "beeper")
    page.fill("#voice-consent", "The browser, by a test")
    page.click("#voice-form button[type=submit]")
    expect(page.locator("#enrol-status")).to_contain_text("Stored: beeper.", timeout=SLOW)
    stored = requests.get(f"{node.url}/voices/beeper", timeout=5).json()
    assert stored["recordings"]["neutral"]["consent"] == "The browser, by a test"
    entry = page.locator("#voice-list > li", has_text="beeper")
    expect(entry).to_have_count(1)
    expect(page.locator("#voice option", has_text="beeper")).to_have_count(1)
    page.on("dialog", lambda dialog: dialog.accept())
    entry.get_by_role("button", name="Delete: beeper").click()
    expect(entry).to_have_count(0)


def test_a_bad_recording_is_named_before_it_is_sent(open_page: Open, tmp_path: Path) -> None:
    page = open_page()
    page.click("#tab-voices")
    for amplitude, length, words in (
        (0.3, 1.5, "Shorter than 3 seconds."),
        (0.004, 4.0, "Very quiet"),
        (1.0, 4.0, "clipped"),
    ):
        path = tmp_path / f"{length}-{amplitude}.wav"
        path.write_bytes(recording(length, amplitude=amplitude))
        page.set_input_files("#voice-file", path)
        expect(page.locator("#voice-checks")).to_contain_text(words)


def test_a_recording_is_judged_while_it_is_made(open_page: Open) -> None:
    """The level moves, and words say what is wrong, and from when on it is long enough."""
    page = open_page()
    page.click("#use-own")
    page.click("#clone-record")
    expect(page.locator("#clone [role=meter]")).to_be_visible()
    expect(page.locator("#clone-checks")).to_contain_text("Keep talking …")
    expect(page.locator("#clone-checks")).not_to_contain_text("Keep talking …", timeout=SLOW)
    expect(page.locator("#clone-checks li")).not_to_have_count(0)
    expect(page.locator("#clone-record")).to_contain_text("Stop recording")
    page.click("#clone-record")
    expect(page.locator("#clone [role=meter]")).to_be_hidden()
    expect(page.locator("#clone audio")).to_be_visible()


def test_one_dead_channel_is_no_silence(open_page: Open, tmp_path: Path) -> None:
    """The server takes the loudest one, too."""
    wave, rate = soundfile.read(io.BytesIO(recording(4.0)))
    page = open_page()
    page.click("#tab-voices")
    soundfile.write(tmp_path / "right.wav", np.stack([0 * wave, wave], 1), rate)
    page.set_input_files("#voice-file", tmp_path / "right.wav")
    expect(page.locator("#voice-checks li")).not_to_have_count(0)
    expect(page.locator("#voice-checks")).not_to_contain_text("quiet")
    expect(page.locator(".file-name", has_text="right.wav")).to_have_count(1)


def test_errors_stand_beside_the_field_in_the_api_s_words(open_page: Open) -> None:
    page = open_page()
    speak(page, " ")
    expect(page.locator("#error-text")).to_contain_text("input: expected")
    page.fill("#text", "Hello.")
    page.fill("#seed", "one")
    page.click("#play")
    expect(page.locator("#error-seed")).to_contain_text("seed: expected")
    page.fill("#seed", "")
    page.evaluate("document.querySelector('#lang option').value = 'xx'")
    page.click("#play")
    expect(page.locator("#error-lang")).to_contain_text("language: expected")
    page.click("#tab-voices")
    page.click("#voice-form button[type=submit]")
    expect(page.locator("#error-voice-reference_audio")).to_have_text("Record something, or choose a file first.")


def test_a_reading_can_be_corrected_and_stays_so(open_page: Open) -> None:
    page = open_page()
    page.fill("#text", "重庆很大。")
    page.click("#show-pronunciation")
    page.on("dialog", lambda dialog: dialog.accept("chong2"))
    page.locator(".readings button").first.click()
    expect(page.locator(".readings .corrected")).to_have_count(1)
    with page.expect_request("**/v1/audio/speech") as request:
        page.click("#play")
    assert '<phoneme alphabet="pinyin" ph="chong2">重</phoneme>' in request.value.post_data_json["input"]
    page.reload()
    page.wait_for_selector("body[data-ready]")
    page.fill("#text", "重庆很大。")
    page.click("#show-pronunciation")
    expect(page.locator(".readings .corrected")).to_have_text("重chong2")


def test_two_voices_are_compared(open_page: Open) -> None:
    page = open_page()
    page.click("#tab-compare")
    page.fill("#compare-text", "Hi.")
    page.click("#compare-form button[type=submit]")
    for side in "AB":
        expect(page.locator(f"#sound-{side}")).to_be_visible(timeout=SLOW)
    assert page.input_value("#voice-A") != page.input_value("#voice-B")


def test_the_request_is_shown_as_code_that_works(open_page: Open, tmp_path: Path) -> None:
    page = open_page()
    page.fill("#text", 'It\'s a "test".')
    page.fill("#seed", "7")
    page.click("#tab-use")
    names = page.locator("#snippets h3").all_text_contents()
    assert names == ["curl", "Python (glmtts-client)", "Python (openai)", "JavaScript"]
    codes = page.locator("#snippets code").all_text_contents()
    for command in (["bash", "-c", codes[0]], [sys.executable, "-c", codes[1]], [sys.executable, "-c", codes[2]]):
        subprocess.run(
            command, cwd=tmp_path, check=True, timeout=60, env={"PATH": "/usr/bin:/bin", "PYTHONPATH": f"{ROOT}/client"}
        )
        assert (tmp_path / "speech.wav").read_bytes().startswith(b"RIFF")
        (tmp_path / "speech.wav").unlink()


def test_a_recording_is_shown_as_code_that_works(open_page: Open, tmp_path: Path, sound_file: Path) -> None:
    page = open_page()
    page.fill("#text", "It's me.")
    page.click("#use-own")
    page.click("#tab-use")
    codes = page.locator("#snippets code").all_text_contents()
    sound_file.rename(tmp_path / "recording.wav")
    for command in (["bash", "-c", codes[0]], [sys.executable, "-c", codes[1]], [sys.executable, "-c", codes[2]]):
        subprocess.run(
            command, cwd=tmp_path, check=True, timeout=60, env={"PATH": "/usr/bin:/bin", "PYTHONPATH": f"{ROOT}/client"}
        )
        assert (tmp_path / "speech.wav").read_bytes().startswith(b"RIFF")
        (tmp_path / "speech.wav").unlink()
    script = f"const recording = new Blob(['none']); {codes[3]}; return response.status;"
    answer = page.evaluate(f"(async () => {{ {script} }})()")
    assert answer == 422  # what was sent is no recording


def test_every_word_is_there_in_both_languages(open_page: Open) -> None:
    page = open_page(locale="zh-CN")
    expect(page.locator("#play")).to_contain_text("朗读")
    words = {key: page.locator(f'[data-i18n="{key}"]').first.text_content() for key in _i18n_keys()}
    assert [key for key, word in words.items() if not re.search("[一-鿿]", word or "")] == []
    page.click("#language")
    expect(page.locator("#play")).to_contain_text("Speak")
    assert page.get_attribute("html", "lang") == "en"
    page.reload()
    expect(page.locator("#play")).to_contain_text("Speak")


def test_every_word_that_is_asked_for_exists_in_both_languages() -> None:
    words = (STATIC / "js" / "i18n.js").read_text("utf-8")
    known = {key for key, _ in re.findall(r"^  (\w+): \[(.+), '[^']+'\],$", words, re.MULTILINE)}
    assert len(known) == len(re.findall(r"^  \w+: \[", words, re.MULTILINE))
    code = "".join(path.read_text("utf-8") for path in (STATIC / "js").glob("*.js"))
    asked = set(re.findall(r"\bt\('(\w+)'\)|i18n: '(\w+)'", code))
    assert {key for pair in asked for key in pair if key} | set(_i18n_keys()) <= known


def _i18n_keys() -> list[str]:
    return sorted(set(re.findall(r'data-i18n="(\w+)"', (STATIC / "index.html").read_text("utf-8"))))


def test_the_keyboard_is_enough(open_page: Open) -> None:
    page = open_page()
    page.focus("#tab-speak")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#panel-voices")).to_be_visible()
    page.keyboard.press("ArrowLeft")
    page.focus("#text")
    page.keyboard.press("Control+A")
    page.keyboard.type("Typed.")
    page.keyboard.press("Control+Enter")
    wait_for_end(page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(open_page: Open, scheme: str) -> None:
    page = open_page(color_scheme=scheme)
    speak(page, "Hello.")
    wait_for_end(page)
    page.click("#show-pronunciation")
    page.wait_for_selector(".readings")
    for tab in TABS:
        page.click(f"#tab-{tab}")
        assert violations(page) == [], tab
    page.click("#tab-speak")
    page.click("#use-own")
    assert violations(page) == [], "a voice of one's own"


def test_a_phone_needs_no_sideways_scrolling(open_page: Open) -> None:
    page = open_page(viewport={"width": 360, "height": 740}, is_mobile=True, has_touch=True)
    for tab in TABS:
        page.click(f"#tab-{tab}")
        assert page.locator("html").evaluate("root => root.scrollWidth") <= 360, tab
    assert page.locator("nav").evaluate("nav => nav.scrollWidth <= nav.clientWidth")


def test_keys_are_asked_for_and_forgotten_with_the_tab(open_page: Open, tmp_path: Path) -> None:
    keys = tmp_path / "keys.yaml"
    command = [sys.executable, "-m", "server.keys", "new", "--name", "me", "--scope", "speak", "--file", str(keys)]
    key = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()[-1]
    with Server("fake:", env={"GLMTTS_API_KEYS_FILE": str(keys)}) as locked:
        page = open_page(locked.url, ready=False)
        page.fill("#key", "wrong")
        page.click("#key-dialog button")
        expect(page.locator("#error-key")).to_contain_text("API key: expected")
        page.fill("#key", key)
        page.click("#key-dialog button")
        page.wait_for_selector("body[data-ready]")
        page.click("#tab-use")
        for code in page.locator("#snippets code").all_text_contents():
            assert "Authorization" in code or 'os.environ["GLMTTS_API_KEY"]' in code
            assert key not in code
        page.click("#tab-voices")
        expect(page.locator("#voices-closed-reason")).to_contain_text("needs the scope")
        page.click("#change-key")
        page.fill("#key", key)
        page.click("#key-dialog button")
        page.reload()
        page.wait_for_selector("body[data-ready]")
        other = page.context.new_page()
        other.goto(locked.url)
        expect(other.locator("#key-dialog")).to_be_visible()


def test_the_cluster_is_shown_with_reasons(open_page: Open, tmp_path: Path) -> None:
    with local_cluster(tmp_path, "--nodes", "2") as cluster:
        ports = sorted(cluster.nodes)
        page = open_page(f"http://127.0.0.1:{ports[0]}")
        page.click("#tab-cluster")
        nodes = page.locator("#nodes > li")
        expect(nodes).to_have_count(2, timeout=SLOW)
        for node in nodes.all():
            expect(node).to_contain_text("handed out to clients", timeout=SLOW)
        own = nodes.filter(has_text="this node")
        expect(own).to_have_count(1)
        expect(page.locator("#cluster-summary")).to_contain_text(
            re.compile(rf"This node is registered \(\S+ at 127.0.0.1:{ports[0]}\)\. 2 nodes in Consul")
        )
        own.locator("summary").click()
        for fact in ("/health", "passing", "max_streams"):
            expect(own.locator("details")).to_contain_text(fact)
        assert violations(page) == []
        service = requests.get(f"http://127.0.0.1:{ports[1]}/cluster", timeout=30).json()["node"]
        consul = f"http://127.0.0.1:{cluster.read_state()['consul']}"
        why = {"enable": "true", "reason": "kernel update"}
        requests.put(f"{consul}/v1/agent/service/maintenance/{service}", params=why, timeout=30).raise_for_status()
        other = nodes.filter(has_not_text="this node")
        expect(other).to_contain_text("not handed out", timeout=SLOW)
        expect(other).to_contain_text("kernel update")
        expect(own.locator("details")).to_have_attribute("open", "")  # though all was shown anew
        page.click("#tab-speak")
        speak(page, "Who speaks?")
        wait_for_end(page)
        expect(page.locator("#history li")).to_contain_text(f"-{ports[0]}")
        page.click("#language")
        page.click("#tab-cluster")
        expect(page.locator("#cluster-summary")).to_contain_text("本节点已注册")
        os.kill(cluster.nodes[ports[1]], signal.SIGTERM)
        expect(nodes).to_have_count(1, timeout=SLOW)


def test_no_sound_and_no_request_to_speak_without_a_gesture(open_page: Open, node: Server) -> None:
    before = node.metric("glmtts_requests_total", route="/v1/audio/speech")
    open_page()
    assert node.metric("glmtts_requests_total", route="/v1/audio/speech") == before


def test_the_console_can_be_turned_off() -> None:
    with Server("fake:", env={"GLMTTS_CONSOLE": "off"}) as server:
        assert [server.status(path) for path in ("/", "/console/js/main.js")] == [404, 404]


def test_the_page_is_small() -> None:
    assert sum(path.stat().st_size for path in STATIC.rglob("*") if path.is_file()) <= MAX_BYTES
