package nft

// The tables below hold the names that nft prints, and those that people write
// for it (nft describe). A name that is in none of them is refused.

// protocols are the names of inet_proto, as nft takes them from /etc/protocols.
func protocols() map[string]uint32 {
	return map[string]uint32{
		"ip": 0, "hopopt": 0, "icmp": 1, "igmp": 2, "ggp": 3, "ipencap": 4, "st": 5, "tcp": 6, "egp": 8, "igp": 9,
		"pup": 12, "udp": 17, "hmp": 20, "xns-idp": 22, "rdp": 27, "iso-tp4": 29, "dccp": 33, "xtp": 36, "ddp": 37,
		"idpr-cmtp": 38, "ipv6": 41, "ipv6-route": 43, "ipv6-frag": 44, "idrp": 45, "rsvp": 46, "gre": 47, "esp": 50,
		"ah": 51, "skip": 57, "ipv6-icmp": 58, "icmpv6": 58, "ipv6-nonxt": 59, "ipv6-opts": 60, "rspf": 73, "vmtp": 81,
		"eigrp": 88, "ospf": 89, "ax.25": 93, "ipip": 94, "etherip": 97, "encap": 98, "pim": 103, "ipcomp": 108,
		"comp": 108, "vrrp": 112, "l2tp": 115, "isis": 124, "sctp": 132, "fc": 133, "mobility-header": 135,
		"udplite": 136, "mpls-in-ip": 137, "manet": 138, "hip": 139, "shim6": 140, "wesp": 141, "rohc": 142,
		"ethernet": 143,
	}
}

// services are names of inet_service, as in the IANA registry.
func services() map[string]uint32 {
	return map[string]uint32{
		"ftp-data": 20, "ftp": 21, "ssh": 22, "telnet": 23, "smtp": 25, "time": 37, "domain": 53, "bootps": 67,
		"bootpc": 68, "tftp": 69, "http": 80, "kerberos": 88, "pop3": 110, "sunrpc": 111, "auth": 113, "nntp": 119,
		"ntp": 123, "netbios-ns": 137, "netbios-dgm": 138, "netbios-ssn": 139, "imap2": 143, "imap": 143, "snmp": 161,
		"snmp-trap": 162, "bgp": 179, "ldap": 389, "https": 443, "microsoft-ds": 445, "submissions": 465,
		"isakmp": 500, "syslog": 514, "dhcpv6-client": 546, "dhcpv6-server": 547, "submission": 587, "ipp": 631,
		"ldaps": 636, "rsync": 873, "imaps": 993, "pop3s": 995, "openvpn": 1194, "nfs": 2049, "mysql": 3306,
		"ipsec-nat-t": 4500, "sip": 5060, "sip-tls": 5061, "xmpp-client": 5222, "xmpp-server": 5269, "mdns": 5353,
		"postgresql": 5432, "http-alt": 8080, "git": 9418,
	}
}

func icmpTypes() map[string]uint32 {
	return map[string]uint32{
		"echo-reply": 0, "destination-unreachable": 3, "source-quench": 4, "redirect": 5, "echo-request": 8,
		"router-advertisement": 9, "router-solicitation": 10, "time-exceeded": 11, "parameter-problem": 12,
		"timestamp-request": 13, "timestamp-reply": 14, "info-request": 15, "info-reply": 16,
		"address-mask-request": 17, "address-mask-reply": 18,
	}
}

func icmpv6Types() map[string]uint32 {
	return map[string]uint32{
		"destination-unreachable": 1, "packet-too-big": 2, "time-exceeded": 3, "parameter-problem": 4,
		"echo-request": 128, "echo-reply": 129, "mld-listener-query": 130, "mld-listener-report": 131,
		"mld-listener-done": 132, "mld-listener-reduction": 132, "nd-router-solicit": 133, "nd-router-advert": 134,
		"nd-neighbor-solicit": 135, "nd-neighbor-advert": 136, "nd-redirect": 137, "router-renumbering": 138,
		"ind-neighbor-solicit": 141, "ind-neighbor-advert": 142, "mld2-listener-report": 143,
	}
}

func tcpFlags() map[string]uint32 {
	return map[string]uint32{"fin": 1, "syn": 2, "rst": 4, "psh": 8, "ack": 16, "urg": 32, "ecn": 64, "cwr": 128}
}

// families are the numbers of address families in the kernel (NFPROTO_IPV4 and
// NFPROTO_IPV6) and the Ethernet types, as versions of IP.
func families() map[string]uint32 { return map[string]uint32{"ipv4": 4, "ipv6": 6} }

func etherTypes() map[string]uint32 { return map[string]uint32{"ip": 4, "ip6": 6} }

// priorities are those that chains may be given by name (nft(8), "Standard
// priority names").
func priorities() map[string]int {
	return map[string]int{"raw": -300, "mangle": -150, "dstnat": -100, "filter": 0, "security": 50, "srcnat": 100}
}

// reserved says whether a word begins a statement or a part of one.
func reserved(text string) bool {
	switch text {
	case "accept", "add", "comment", "continue", "counter", "ct", "delete", "drop", "fib", "goto", "icmp", "icmpv6", "iif",
		"iifname", "ip", "ip6", "jump", "limit", "log", "map", "meta", "reject", "return", "set", "tcp", "th", "udp",
		"update", "vmap":
		return true
	}
	return false
}
