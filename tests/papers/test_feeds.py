"""Feeds are read entry by entry, and nothing in them is run, fetched or believed."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import pytest

from accord.errors import DataError, StorageError
from accord.papers import feeds
from accord.papers.feeds import Feed, read_feed

ATOM = """<?xml version="1.0" encoding="UTF-8"?>
<feed xmlns="http://www.w3.org/2005/Atom" xmlns:arxiv="http://arxiv.org/schemas/atom">
  <title>ArXiv Query</title><id>http://arxiv.org/api/q</id><updated>2024-02-01T00:00:00-05:00</updated>
  <entry>
    <id>http://arxiv.org/abs/2401.09732v2</id>
    <updated>2024-01-30T09:00:00Z</updated>
    <published>2024-01-18T23:30:00-05:00</published>
    <title>Bridges as
      Texts</title>
    <summary>  Where $x&lt;y$ and z&gt;w,
      things move. </summary>
    <author><name>Ann Bee</name></author><author><name>Cy Dée</name></author>
    <arxiv:doi>10.1000/ABC.1</arxiv:doi>
    <link href="http://arxiv.org/abs/2401.09732v2" rel="alternate" type="text/html"/>
    <link title="pdf" href="http://arxiv.org/pdf/2401.09732v2" rel="related"/>
  </entry>
  <entry><id>http://arxiv.org/abs/cs.CV/0301001v1</id><published>2003-01-02T00:00:00Z</published><title>Old</title></entry>
  <entry><id>http://arxiv.org/api/errors#bad</id><title>Error</title><summary>bad id</summary></entry>
</feed>"""

RSS = """<rss version="2.0" xmlns:dc="http://purl.org/dc/elements/1.1/"><channel><title>cs.CV</title>
  <item><title>Two things</title><link>https://arxiv.org/abs/2401.00001</link>
    <description>arXiv:2401.00001v1 Announce Type: new
Abstract: &lt;p&gt;One &amp;amp; two.&lt;/p&gt;</description>
    <pubDate>Thu, 18 Jan 2024 00:00:00 -0500</pubDate><dc:creator>Ann Bee, Cy Dee and Eva Eff</dc:creator>
    <guid isPermaLink="false">oai:arXiv.org:2401.00001v1</guid></item>
</channel></rss>"""

RDF = """<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns="http://purl.org/rss/1.0/"
  xmlns:dc="http://purl.org/dc/elements/1.1/">
  <item rdf:about="http://x.org/1"><title>Third</title><link>http://x.org/1</link><dc:date>2024-01-18</dc:date></item>
</rdf:RDF>"""


def read(folder: Path, text: str | bytes) -> Feed:
    path = folder / "feed"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_feed(path)


def test_arxivs_atom_is_read_with_versions_authors_and_days_in_utc(tmp_path) -> None:
    feed = read(tmp_path, ATOM)
    first, old = feed.entries
    assert (feed.kind, first.title, first.abstract) == ("Atom", "Bridges as Texts", "Where $x<y$ and z>w, things move.")
    assert (first.arxiv, first.version, first.doi) == ("2401.09732", 2, "10.1000/abc.1")
    assert (first.authors, first.date) == (("Ann Bee", "Cy Dée"), datetime.date(2024, 1, 19))
    assert first.url == "http://arxiv.org/abs/2401.09732v2"
    assert (old.arxiv, old.version) == ("cs.CV/0301001", 1)
    assert [(item.place, item.reason) for item in feed.broken] == [("entry 3", "arXiv reports an error: bad id")]


def test_rss_loses_its_markup_and_what_arxiv_puts_before(tmp_path) -> None:
    (entry,) = read(tmp_path, RSS).entries
    assert (entry.abstract, entry.arxiv, entry.version) == ("One & two.", "2401.00001", 1)
    assert (entry.authors, entry.votes) == (("Ann Bee", "Cy Dee", "Eva Eff"), None)
    assert [one.title for one in read(tmp_path, RDF).entries] == ["Third"]


@pytest.mark.parametrize("around", [lambda items: items, lambda items: {"papers": items}, lambda items: items[0]])
def test_json_may_be_a_list_a_list_under_a_name_or_one_paper(tmp_path, around) -> None:
    paper = {
        "title": "A",
        "abstract": "B",
        "date": "2024-01-18",
        "authors": ["C D"],
        "upvotes": 3,
        "url": "https://x.org",
    }
    (entry,) = read(tmp_path, json.dumps(around([paper]))).entries
    assert (entry.votes, entry.authors, entry.url, entry.arxiv) == (3, ("C D",), "https://x.org", None)


def test_hugging_faces_daily_papers_are_read_from_within(tmp_path) -> None:
    inner = {"id": "2401.09732", "title": "A", "summary": "B", "publishedAt": "2024-01-18T10:00:00.000Z", "upvotes": 7}
    outer = {"paper": inner | {"authors": [{"name": "C D", "hidden": False}]}, "title": "A", "numComments": 2}
    (entry,) = read(tmp_path, json.dumps([outer])).entries
    assert (entry.arxiv, entry.votes, entry.authors) == ("2401.09732", 7, ("C D",))
    assert entry.url == "https://arxiv.org/abs/2401.09732"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"date": "2024-01-18"}, "it has no title"),
        ({"title": "A"}, "it has no date"),
        ({"title": "A", "date": "soon"}, "its date 'soon' cannot be read"),
        ({"title": "A", "date": "2199-01-01"}, "it lies in the future"),
        ({"title": "A", "date": "2024-01-18", "url": "javascript:alert(1)"}, "is neither http nor https"),
        ({"title": "A", "date": "2024-01-18", "votes": -1}, "votes = -1"),
        ({"title": "A", "date": "2024-01-18", "votes": "many"}, "votes = 'many'"),
        ({"title": "A" * 2000, "date": "2024-01-18"}, "title = "),
        (7, "expected an object with title and date, got int"),
    ],
)
def test_a_broken_entry_is_told_with_its_reason_and_the_others_are_kept(tmp_path, fields, reason) -> None:
    feed = read(tmp_path, json.dumps([fields, {"title": "Good", "date": "2024-01-18"}]))
    assert [entry.title for entry in feed.entries] == ["Good"]
    assert [item.place for item in feed.broken] == ["entry 1"]
    assert reason in feed.broken[0].reason


def test_what_cannot_be_seen_is_taken_out_of_titles(tmp_path) -> None:
    (entry,) = read(tmp_path, json.dumps([{"title": "a\r\nBcc: b\u202e\u0000c", "date": "2024-01-18"}])).entries
    assert entry.title == "a Bcc: b c"


@pytest.mark.parametrize(
    "declaration",
    [
        '<!DOCTYPE a [<!ENTITY l "lol"><!ENTITY m "&l;&l;&l;&l;">]>',
        '<!DOCTYPE a [<!ENTITY l SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE a SYSTEM "http://127.0.0.1:9/evil.dtd">',
    ],
)
def test_a_document_type_is_refused_before_its_entities_are_read(tmp_path, declaration) -> None:
    attack = f'<?xml version="1.0"?>{declaration}<feed xmlns="http://www.w3.org/2005/Atom"><title>&l;</title></feed>'
    with pytest.raises(DataError, match=r"declares a document type.*remove its <!DOCTYPE"):
        read(tmp_path, attack)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (ATOM[:-20], "is no XML"),
        ('<?xml version="1.0" encoding="klingon"?><feed/>', "is no XML"),
        ("<html><body/></html>", "begins with <html>"),
        ("title,date", "neither XML nor JSON"),
        ("[" * 100_000, "neither XML nor JSON"),
        ("3", "expected a list of papers"),
        ('{"error": "rate limited"}', "expected a list of papers"),
        (b"\xff\xfe", "is no XML"),
    ],
)
def test_what_is_no_feed_is_said_in_a_sentence(tmp_path, text, said) -> None:
    with pytest.raises(DataError, match=said):
        read(tmp_path, text)


def test_a_file_that_is_too_large_or_missing_is_not_read(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(feeds, "LARGEST", 10)
    with pytest.raises(DataError, match="split it"):
        read(tmp_path, ATOM)
    with pytest.raises((DataError, StorageError), match="is not a file"):
        read_feed(tmp_path / "none")
