"""Which addresses of the internet may be connected to: public ones only, in whatever dress they come."""

import ipaddress

# `is_global` alone lets multicast, NAT64 and 6to4 through (reliability-security.md 4.5), so each stands here by name.
_REFUSED_4 = tuple(
    ipaddress.IPv4Network(text)
    for text in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
        "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24",
        "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
    )
)  # fmt: skip
# Outside of 2000::/3 nothing is public: unspecified, loopback, mapped (::ffff:0:0/96) and compatible (::/96),
# NAT64 (64:ff9b::/96, 64:ff9b:1::/48), unique local, link-local, site-local (fec0::/10), multicast.
_PUBLIC_6 = ipaddress.IPv6Network("2000::/3")
_REFUSED_6 = tuple(
    ipaddress.IPv6Network(text)
    for text in (
        "2001::/23",  # Teredo, ORCHID, benchmarks
        "2001:db8::/32",
        "2002::/16",  # 6to4: an IPv4 address of anybody's choice is inside
        "3fff::/20",
    )
)


def is_public(address: str) -> bool:
    """Tell whether this address (as a resolver writes it) may be connected to without being named as private."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:  # also one with a zone (fe80::1%eth0)
        return False
    if isinstance(found, ipaddress.IPv4Address):
        is_refused = any(found in network for network in _REFUSED_4)
    else:
        is_refused = found not in _PUBLIC_6 or any(found in network for network in _REFUSED_6)
    return found.is_global and not found.is_multicast and not is_refused
