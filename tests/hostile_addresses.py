"""Addresses that try to reach what is not allowed (reliability-security.md, row S11)."""

ALLOWED = ("files.example",)

HOSTILE = (
    # numbers in every spelling that a resolver takes
    "https://127.0.0.1/a", "https://127.1/a", "https://127.0.1/a", "https://2130706433/a", "https://0x7f000001/a",
    "https://0x7f.1/a", "https://0177.0.0.1/a", "https://017700000001/a", "https://0x7f.0x0.0x0.0x1/a",
    "https://0/a", "https://0.0.0.0/a", "https://10.0.0.1/a", "https://169.254.169.254/latest/meta-data",
    "https://2852039166/a", "https://0251.0376.0251.0376/a", "https://192.168.0.1/a", "https://100.64.0.1/a",
    "https://93.184.215.14/a", "https://①②⑦.0.0.1/a", "https://127。0。0。1/a",
    # IPv6
    "https://[::1]/a", "https://[::]/a", "https://[::ffff:127.0.0.1]/a", "https://[::ffff:7f00:1]/a",
    "https://[::127.0.0.1]/a", "https://[64:ff9b::7f00:1]/a", "https://[64:ff9b:1::1]/a", "https://[2002:7f00:1::]/a",
    "https://[2001:0:7f00:1::]/a", "https://[fe80::1]/a", "https://[fe80::1%25eth0]/a", "https://[fc00::1]/a",
    "https://[fec0::1]/a", "https://[ff02::1]/a", "https://[2606:2800::1]/a", "https://[::1/a", "https://[v1.x]/a",
    # names
    "https://localhost/a", "https://localhost.localdomain/a", "https://LOCALHOST/a", "https://files.example./a",
    "https://files.example.evil.example/a", "https://evilfiles.example/a", "https://files.example.127.0.0.1/a",
    "https://example/a", "https://.files.example/a", "https://a..files.example/a", "https://-a.files.example/a",
    "https://%66iles.example/a", "https://files%2eexample/a", "https://files.example%00.evil.example/a",
    "https://files.example。evil.example/a", "https:///a", "https://", "https:files.example/a",
    # users, ports, schemes, parts in disguise
    "https://files.example@127.0.0.1/a", "https://files.example:443@127.0.0.1/a", "https://@files.example/a",
    "https://127.0.0.1\\@files.example/a", "https://files.example\\@127.0.0.1/a", "https://files.example:22/a",
    "https://files.example:0/a", "https://files.example:99999/a", "https://files.example:+443x/a",
    "https://127.0.0.1#@files.example/a", "https://127.0.0.1?@files.example/a", "https://files.example/#a",
    "http://files.example/a", "ftp://files.example/a", "file:///etc/passwd", "gopher://files.example/a",
    "//files.example/a", "https://files.example/a\r\nHost: evil.example", "https://files.example\t.evil.example/a",
    " https://files.example/a", "https://files.example/a b", "https://files.example/ä", "",
)  # fmt: skip

PRIVATE_ADDRESSES = (
    "0.0.0.0", "10.1.2.3", "100.64.0.1", "100.127.255.255", "127.0.0.1", "127.255.255.254", "169.254.169.254",
    "172.16.0.1", "172.31.255.255", "192.0.0.8", "192.0.2.1", "192.88.99.1", "192.168.1.1", "198.18.0.1",
    "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
    "::", "::1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:93.184.215.14", "64:ff9b::7f00:1", "64:ff9b:1::1",
    "100::1", "2001::1", "2001:0:7f00:1::", "2001:db8::1", "2002:7f00:1::", "3fff::1", "fc00::1", "fd12::1",
    "fe80::1", "fe80::1%lo", "fec0::1", "ff02::1", "ff0e::1", "5f00::1", "no address",
)  # fmt: skip

PUBLIC_ADDRESSES = (
    "93.184.215.14",
    "8.8.8.8",
    "172.32.0.1",
    "100.128.0.1",
    "2606:2800:220:1::1",
    "2a00:1450::1",
)
