"""What people have sent as `next`, `Referer` and `Host` to leave an origin, from the write-ups of fifteen years."""

from __future__ import annotations

EVIL = "evil.example"

NEXT = (
    # another origin, said plainly
    *("http://evil.example", "https://evil.example/", "HTTP://EVIL.EXAMPLE", "ftp://evil.example", "ws://evil.example"),
    *("//evil.example", "///evil.example", "////evil.example", "//evil.example/%2f..", "//evil.example:80/path"),
    *("//localhost@evil.example", "http://localhost@evil.example", "http://localhost:80@evil.example/"),
    *("//localhost.evil.example", "http://localhost.evil.example", "http://localhost%2eevil.example"),
    *("http://localhost#@evil.example/", "//evil.example#localhost", "//evil.example?localhost", "//evil。example"),
    *("http:evil.example", "https:evil.example", "http:/evil.example", "https:/evil.example", "http:///evil.example"),
    *("https:///evil.example", "https:////evil.example", "://evil.example", ":evil.example", "evil.example"),
    # backslashes
    *("\\\\evil.example", "/\\evil.example", "\\/evil.example", "/\\/evil.example", "\\/\\/evil.example", "/\\\\evil"),
    *("http:\\\\evil.example", "https:\\evil.example", "http://localhost\\@evil.example", "\\evil.example"),
    *("/path\\..\\..\\evil.example", "/.\\evil.example", "/;\\evil.example", "/..\\\\evil.example"),
    # control characters and blanks
    *("\t//evil.example", "/\t/evil.example", "/\n/evil.example", "/\r/evil.example", "/\r\n/evil.example"),
    *("\x00//evil.example", "/\x00/evil.example", "\x0b//evil.example", "\x1f//evil.example", "/\x1f/evil.example"),
    *(" //evil.example", "/ /evil.example", "  https://evil.example", "\x20\t\n//evil.example", "/\x0c/evil.example"),
    *("ht\ttp://evil.example", "//evil\t.example", "/\x85/evil.example", "/\xa0/evil.example", "\xa0//evil.example"),
    *("/\u2028/evil.example", "/\u2029/evil.example", "\u3000//evil.example", "\ufeff//evil.example", "/\x7f/evil"),
    # encoded once, twice, often
    *("/%2fevil.example", "%2f%2fevil.example", "/%2Fevil.example", "/%252fevil.example", "/%25252fevil.example"),
    *("/%5cevil.example", "/%5C/evil.example", "/%255cevil.example", "%5c%5cevil.example", "/%09/evil.example"),
    *("/%0a/evil.example", "/%0d%0aLocation:%20//evil.example", "/%0d%0aSet-Cookie:%20a=b", "/%00/evil.example"),
    *("/%2509/evil.example", "/%2f%2fevil.example", "/x/%2f/evil.example", "/%2e%2e//evil.example", "/%c0%af/evil"),
    *("/%ff%2fevil.example", "/%E2%80%A8/evil.example", "http%3a//evil.example", "%68ttp://evil.example"),
    # paths that become two slashes
    *("/.//evil.example", "/..//evil.example", "/x/..//evil.example", "/x//evil.example", "/./%2fevil.example"),
    *("/x//", "/?x//evil.example\t", "/..;//evil.example", "/%2e//evil.example"),
    # no place at all
    *(
        "javascript:alert(1)",
        "JaVaScRiPt:alert(1)",
        "java\tscript:alert(1)",
        " javascript:alert(1)",
        "\x01javascript:x",
    ),
    *("data:text/html,<script>alert(1)</script>", "vbscript:x", "blob:http://localhost/x", "file:///etc/passwd"),
    *("about:blank", "view-source:http://localhost", "mailto:a@evil.example", "tel:1", "intent://evil.example"),
    # wrong kinds of text
    *("", ".", "..", "?", "#", "*", "@evil.example", "?next=//evil.example", "#//evil.example", "next", "\ud800/x"),
    *("/\ud800/evil.example", "/" + "a" * 8192, "//" + "a" * 5000, "/\\" + "/" * 3000 + EVIL, "[::1]", "http://[::1"),
    *("http://[evil.example]", "//[::1]@evil.example", "/[//evil.example", "http://evil.example:abc", "//:80"),
    *(
        "//%65vil.example",
        "//evil.example\\@localhost",
        "http://foo@evil.example:80@localhost/",
        "/\u202e//evil.example",
    ),
)
"""None of these may decide where anybody goes."""

WITHIN = {
    "/": "/",
    "/account": "/account",
    "/account?tab=1&x=%20": "/account?tab=1&x=%20",
    "/nowhere/at/all": "/nowhere/at/all",
    "/search?q=http://evil.example//": "/search?q=http://evil.example//",
    "/@evil.example": "/@evil.example",
    "/evil.example": "/evil.example",
    "/a%20b": "/a%20b",
    "/caf\xe9": "/caf%C3%A9",
    "/caf%C3%A9?q=caf%C3%A9": "/caf%C3%A9?q=caf%C3%A9",
    "/x?a=1#part": "/x?a=1",
    "/x;y=1": "/x;y=1",
    "/javascript:alert(1)": "/javascript:alert(1)",
    "/x?<script>\"'": "/x?%3Cscript%3E%22'",
}
"""These are taken; the value is what goes out, re-serialised."""

HOSTS = (
    *("evil.example", "evil.example:80", "EVIL.example", "app.example.evil.example", "evil.example.app.example"),
    *("app.example@evil.example", "evil.example@app.example", "app.example:443@evil.example", "app.example#evil"),
    *("app.example/evil.example", "app.example\\evil.example", "app.example?evil", "app.example,evil.example"),
    *("app.example evil.example", "app.example\tevil", "app.example:80", "app.example:8443", "app.example:0443"),
    *("app.example:abc", "app.example:", "app.example:443:443", "app.example.", ".app.example", "app..example"),
    *("app.example:443x", "app.example:-1", "app.example:99999", "[app.example]", "[::1]", "127.0.0.1", "localhost"),
    *("[::1", "::1", "*", "", " ", "http://app.example", "https://app.example", "//app.example", "app%2eexample"),
    *("\xe4pp.example", "app.example\x00", "app.example\r\nX: y", "<script>", "'\"", "a" * 5000, "app_example"),
    *("app.exam\xadple", "xn--pp-wia.example", "0x7f000001", "2130706433", "127.1", "null", "undefined"),
)
"""Hosts that are not `app.example`."""
