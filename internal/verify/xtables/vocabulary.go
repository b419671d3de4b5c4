package xtables

// shape is how an option is written.
type shape struct {
	name string // of the aliases the first
	args int
	not  bool // ! may stand in front
}

// isMatch knows the matches that are understood.
func isMatch(name string) bool {
	switch name {
	case "tcp", "udp", "icmp", "icmp6", "multiport", "recent", "hashlimit", "limit", "conntrack", "state", "addrtype",
		"comment":
		return true
	}
	return false
}

// takes gives the shape of an option that a match or a target has and that is
// understood. See iptables-extensions(8).
func takes(module, name string) (shape, bool) {
	switch module {
	case "tcp":
		switch name {
		case "--tcp-flags":
			return shape{name, 2, true}, true
		case "--syn":
			return shape{name, 0, true}, true
		}
		return takesPort(name)
	case "udp":
		return takesPort(name)
	case "icmp":
		return shape{name, 1, true}, name == "--icmp-type"
	case "icmp6":
		return shape{"--icmpv6-type", 1, true}, name == "--icmpv6-type" || name == "--icmp-type"
	case "multiport":
		switch name {
		case "--dports", "--destination-ports":
			return shape{"--dports", 1, true}, true
		case "--sports", "--source-ports":
			return shape{"--sports", 1, true}, true
		}
	case "recent":
		return takesRecent(name)
	case "hashlimit":
		return takesHashLimit(name)
	case "limit":
		return shape{name, 1, false}, name == "--limit" || name == "--limit-burst"
	case "conntrack":
		return shape{name, 1, true}, name == "--ctstate"
	case "state":
		return shape{name, 1, true}, name == "--state"
	case "addrtype":
		return shape{name, 1, true}, name == "--dst-type"
	case "comment":
		return shape{name, 1, false}, name == "--comment"
	case "REJECT":
		return shape{name, 1, false}, name == "--reject-with"
	case "LOG", "NFLOG":
		return takesLog(module, name)
	}
	return shape{}, false
}

func takesPort(name string) (shape, bool) {
	switch name {
	case "--dport", "--destination-port":
		return shape{"--dport", 1, true}, true
	case "--sport", "--source-port":
		return shape{"--sport", 1, true}, true
	}
	return shape{}, false
}

func takesRecent(name string) (shape, bool) {
	switch name {
	case "--set", "--rcheck", "--update", "--remove":
		return shape{name, 0, true}, true
	case "--rttl", "--rsource", "--rdest":
		return shape{name, 0, false}, true
	case "--seconds", "--hitcount", "--name", "--mask":
		return shape{name, 1, false}, true
	}
	return shape{}, false
}

func takesHashLimit(name string) (shape, bool) {
	switch name {
	case "--hashlimit", "--hashlimit-upto":
		return shape{"--hashlimit-upto", 1, false}, true
	case "--hashlimit-above", "--hashlimit-burst", "--hashlimit-mode", "--hashlimit-srcmask", "--hashlimit-dstmask",
		"--hashlimit-name", "--hashlimit-htable-size", "--hashlimit-htable-max", "--hashlimit-htable-expire",
		"--hashlimit-htable-gcinterval":
		return shape{name, 1, false}, true
	}
	return shape{}, false
}

func takesLog(target, name string) (shape, bool) {
	switch target + " " + name {
	case "LOG --log-level", "LOG --log-prefix",
		"NFLOG --nflog-group", "NFLOG --nflog-prefix", "NFLOG --nflog-range", "NFLOG --nflog-size", "NFLOG --nflog-threshold":
		return shape{name, 1, false}, true
	case "LOG --log-tcp-sequence", "LOG --log-tcp-options", "LOG --log-ip-options", "LOG --log-uid", "LOG --log-macdecode":
		return shape{name, 0, false}, true
	}
	return shape{}, false
}

// isTarget knows the names of iptables-extensions(8) that no chain may have.
func isTarget(name string) bool {
	switch name {
	case "ACCEPT", "DROP", "RETURN", "QUEUE", "AUDIT", "CHECKSUM", "CLASSIFY", "CLUSTERIP", "CONNMARK", "CONNSECMARK", "CT",
		"DNAT", "DNPT", "DSCP", "ECN", "HL", "HMARK", "IDLETIMER", "LED", "LOG", "MARK", "MASQUERADE", "NETMAP", "NFLOG",
		"NFQUEUE", "NOTRACK", "RATEEST", "REDIRECT", "REJECT", "SECMARK", "SET", "SNAT", "SNPT", "SYNPROXY", "TCPMSS",
		"TCPOPTSTRIP", "TEE", "TOS", "TPROXY", "TRACE", "TTL", "ULOG":
		return true
	}
	return false
}

// isUnderstood knows the targets that are no chains and can be built.
func isUnderstood(target string) bool {
	switch target {
	case "ACCEPT", "DROP", "RETURN", "REJECT", "LOG", "NFLOG":
		return true
	}
	return false
}

// protoMatch is the match that -p loads when one of its options is met.
func protoMatch(proto string) string {
	switch number, _ := protoNumber(proto); number {
	case tcp:
		return "tcp"
	case udp:
		return "udp"
	case icmp:
		return "icmp"
	case icmp6:
		return "icmp6"
	}
	return ""
}
