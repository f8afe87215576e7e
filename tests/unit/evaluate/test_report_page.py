"""The report for a browser: its figures, its links, that it fetches nothing, and that a real browser shows it."""

import html.parser
import json
import os
import re
import shutil
import subprocess

import numpy as np
import pytest

from metarec.errors import StorageError
from metarec.evaluate.gate import judge
from metarec.evaluate.report import check_report_path, render_report, write_report
from tests.planted_evaluation import FIGURES, planted_evaluation

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
CANDIDATE = "maml on <melu>"


class Page(html.parser.HTMLParser):
    """Tables by the id of the heading above them, links, ids, and what the page would fetch."""

    def __init__(self, text):
        super().__init__()
        self.rows, self.links, self.ids, self.fetched, self.words = {}, [], set(), [], []
        self.section, self.in_cell = "", False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        if "id" in given:
            self.ids.add(given["id"])
        if tag == "h2":
            self.section = given["id"]
        elif tag == "tr":
            self.rows.setdefault(self.section, []).append([])
        elif tag in ("td", "th"):
            self.in_cell = True
            self.rows[self.section][-1].append("")
        elif tag == "a":
            self.links.append(given["href"])
        if tag in ("script", "link", "img", "iframe"):
            self.fetched.append(tag)
        if tag != "a":
            self.fetched += [v for k, v in attributes if k in ("src", "href", "xlink:href") and not v.startswith("#")]

    def handle_data(self, data):
        self.words.append(data)
        if self.in_cell:
            self.rows[self.section][-1][-1] += data

    def handle_endtag(self, tag):
        self.in_cell = self.in_cell and tag not in ("td", "th")

    def row(self, section, name):
        (found,) = (row for row in self.rows[section] if row[0] == name)
        return found[1:]


@pytest.fixture(scope="module")
def evaluation():
    return planted_evaluation()


@pytest.fixture(scope="module")
def verdict(evaluation):
    opponents = [name for name in FIGURES if name != CANDIDATE]
    return judge(evaluation, candidate=CANDIDATE, opponents=opponents, primary="mae")


@pytest.fixture(scope="module")
def report(evaluation, verdict):
    figures, page = render_report(evaluation, verdict, primary="mae", dataset="a & b")
    return json.loads(figures), page.decode()


@pytest.fixture(scope="module")
def page(report):
    return Page(report[1])


def test_the_results_are_the_planted_figures_and_differences_with_their_intervals(page):
    error, root, *_, difference = page.row("results", CANDIDATE)
    assert re.fullmatch(r"0\.8000\[0\.7[45]\d\d, 0\.8[45]\d\d\]", error)
    assert root == "0.8000[0.8000, 0.8000]"
    assert re.fullmatch(r"-0\.1000\[-0\.1[45]\d\d, -0\.0[45]\d\d\]", difference)
    assert page.row("results", "factorisation + fold-in")[5] == "best floor"


def test_the_candidate_stands_beside_the_best_floor_of_each_metric(page):
    rows = {row[0]: row[1:] for row in page.rows["floors"][1:]}
    assert list(rows)[:6] == ["MAE", "RMSE", "nDCG@1", "nDCG@3", "nDCG@5", "P@5"]
    assert "log loss" not in rows
    assert rows["MAE"][0].startswith("0.8000[0.7")
    assert rows["MAE"][1] == "0.9000factorisation + fold-in"
    assert rows["RMSE"][2] == "-0.1000[-0.1000, -0.1000]"
    assert rows["P@5"] == ["0.2500[0.2500, 0.2500]", "0.2500global mean", "+0.0000[+0.0000, +0.0000]"]


def test_scores_that_tell_an_order_alone_have_dashes_on_the_page():
    evaluation = planted_evaluation()
    evaluation.user_values[-1, :, :2] = evaluation.squared_errors[-1][:] = np.nan
    page = Page(render_report(evaluation, None, primary="mae")[1].decode())
    assert page.row("results", CANDIDATE)[:2] == ["-", "-"]
    assert page.row("results", CANDIDATE)[5] == "-"
    assert [row[0] for row in page.rows["floors"][1:3]] == ["nDCG@1", "nDCG@3"]


def test_every_size_list_segment_and_second_is_shown(page):
    assert next(row[1:] for row in page.rows["curves"] if row[0] == CANDIDATE) == ["1.5000", "0.8000", "0.8000"]
    lists = dict(zip(page.rows["lists"][0][1:], page.row("lists", CANDIDATE), strict=True))
    assert (lists["P@5"], lists["log loss"], lists["coverage@5"]) == ("0.2500", "-", "0.1250")
    assert page.row("segments", "gender = F")[:3] == ["10", "0.9000", "1.0000"]
    assert page.row("segments", "gender = F")[3].startswith("+0.1000[")
    assert page.row("costs", CANDIDATE) == ["77.0", "2.4", "10.00"]
    assert page.row("facts", "dataset") == ["a & b"]


def test_users_whom_a_metric_leaves_out_are_counted(page):
    assert "3 of 40 users have no relevant query item and are left out of P@5, R@5" in " ".join(page.words)


def test_the_title_names_the_dataset(report):
    assert "<h1>maml on &lt;melu&gt; on 40 test users of a &amp; b</h1>" in report[1]


def test_users_without_a_list_are_counted(page):
    assert "fewer than" not in " ".join(page.words).replace("fewer than 5 support ratings", "")
    evaluation = planted_evaluation(num_without_list=7)
    evaluation.user_values[:, :, 5:10, 1:8] = np.nan
    short = Page(render_report(evaluation, None, primary="mae")[1].decode())
    assert "8 of 40 users have no relevant query item or fewer than 5 items to rank (7)" in " ".join(short.words)


def test_every_link_leads_to_a_heading_of_the_page_and_nothing_is_fetched(page, report):
    assert len(page.links) == 7
    assert {link.removeprefix("#") for link in page.links} <= page.ids
    assert page.fetched == []
    assert not re.search(
        r"url\((?!#)|@import|https?://(?!www\.w3\.org)", re.sub(r"<!--.*?-->|<!DOCTYPE[^>]*>", "", report[1])
    )


def test_the_curves_are_drawings_with_readable_text(report):
    drawings = re.findall(r"<svg.*?</svg>", report[1], re.DOTALL)
    assert len(drawings) == 2
    assert all(f">{name}</text>" in drawings[0] for name in ("item + user bias", "maml on &lt;melu&gt;"))


def test_the_json_says_the_same(report):
    figures = report[0]
    assert figures["primary"] == "mae"
    deciding = figures["differences"]["all"]["mae"]
    assert deciding["floor"] == "factorisation + fold-in"
    assert deciding["values"][CANDIDATE]["difference"] == pytest.approx(-0.1)
    segment = figures["evaluation"]["segments"]["gender = F"]
    assert segment["num_users"] == 10
    assert segment["values"][CANDIDATE]["mae"] == pytest.approx(1.0)
    assert figures["evaluation"]["values"][CANDIDATE]["all"]["log_loss"] is None
    assert figures["evaluation"]["num_undefined"]["precision_at_5"] == 3


@pytest.mark.parametrize("name", ["report.json", "report.html"])
def test_either_name_writes_both_files(name, tmp_path, evaluation):
    write_report(evaluation, None, str(tmp_path / name))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "report.json"]


@pytest.mark.skipif(BROWSER is None, reason="no browser here: install chromium")
def test_a_browser_shows_the_page_and_its_figures(tmp_path, evaluation, verdict):
    write_report(evaluation, verdict, str(tmp_path / "report.html"), dataset="a & b")
    switches = "headless no-sandbox disable-gpu disable-quic no-first-run disable-background-networking disable-sync"
    shown = subprocess.run(
        [
            BROWSER,
            *(f"--{switch}" for switch in switches.split()),
            "--disable-component-update",
            f"--user-data-dir={tmp_path / 'profile'}",
            "--dump-dom",
            (tmp_path / "report.html").as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
        env={**os.environ, "HOME": str(tmp_path)},
    )
    seen = Page(shown.stdout)
    assert seen.row("results", CANDIDATE)[1] == "0.8000[0.8000, 0.8000]"
    assert shown.stdout.count("<svg") == 2
    assert seen.row("facts", "dataset") == ["a & b"]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("report.txt", r"cannot write a report to .*report\.txt; name a file that ends in \.json or \.html"),
        ("folder.json", r"cannot write .*folder\.json: it is a folder; name a file"),
        ("file/report.json", r"cannot write .*file/report\.json: .*; name a file in another folder"),
    ],
)
def test_a_place_where_no_report_can_be_written_is_refused(name, sentence, tmp_path):
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=sentence):
        check_report_path(str(tmp_path / name))


def test_asking_whether_a_report_can_be_written_leaves_an_earlier_one_alone(tmp_path):
    (tmp_path / "report.json").write_text("earlier")
    check_report_path(str(tmp_path / "report.json"))
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"report.json": "earlier"}
