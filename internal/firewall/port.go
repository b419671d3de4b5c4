package firewall

import (
	"strconv"
	"strings"

	"tirl/internal/port"
)

// number reads a port by its number, or by the name that IANA has registered for
// it, as in /etc/services.
func number(text string) (uint16, error) {
	if n, ok := names()[strings.ToLower(text)]; ok {
		return n, nil
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n == 0 {
		return 0, unread("", "%q is no port", text)
	}
	return uint16(n), nil
}

func names() map[string]uint16 {
	return map[string]uint16{
		"ftp": 21, "ssh": 22, "telnet": 23, "smtp": 25, "domain": 53, "http": 80, "www": 80, "pop3": 110, "imap2": 143, "imap": 143,
		"ldap": 389, "https": 443, "submission": 587, "ldaps": 636, "rsync": 873, "imaps": 993, "pop3s": 995, "openvpn": 1194,
		"ms-sql-s": 1433, "mysql": 3306, "ms-wbt-server": 3389, "postgresql": 5432, "http-alt": 8080, "webmin": 10000,
	}
}

// list reads 22, 22,80, 6000:6007 or, with another sign, 6000-6007.
func list(text, sign string, protos ...port.Proto) ([]port.Range, error) {
	var all []port.Range
	for part := range strings.SplitSeq(text, ",") {
		low, high, isRange := strings.Cut(strings.TrimSpace(part), sign)
		first, err := number(low)
		if err != nil {
			return nil, err
		}
		last := first
		if isRange {
			if last, err = number(high); err != nil {
				return nil, err
			}
		}
		if last < first {
			return nil, unread("", "the ports %s end before they begin", part)
		}
		for _, p := range protos {
			all = append(all, port.Range{Proto: p, First: first, Last: last})
		}
	}
	return all, nil
}

// proto reads the name or number of a protocol that has ports; none of them is
// every protocol.
func proto(text string) ([]port.Proto, error) {
	switch strings.ToLower(text) {
	case "tcp", "6":
		return []port.Proto{port.TCP}, nil
	case "udp", "17":
		return []port.Proto{port.UDP}, nil
	case "", "all", "any", "0":
		return nil, nil
	}
	return nil, unread("", "it is about the protocol %s, and a door opens tcp and udp only", text)
}
