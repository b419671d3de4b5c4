package importer

import (
	"strings"
	"testing"

	"tirl/internal/knockd"
	"tirl/internal/policy"
	"tirl/internal/port"
)

// What is known of the host is said, and what does not matter there is not.
func TestHost(t *testing.T) {
	const conf = `[options]
Interface = eth0
[ssh]
sequence = 40002:udp,8412,3377:udp
tcpflags = syn
command  = iptables -I INPUT -s %IP% -p tcp --dport 22 -j ACCEPT
`
	const (
		only     = "knockd hears knocks on eth0 only"
		missing  = `this host has no interface "eth0"`
		ipv6     = "for a client with an IPv6 address"
		listens  = "httpd listens on tcp/80"
		inUse    = "echod listens on tcp/8412"
		outgoing = "this host uses the ports from 32768 to 60999"
	)
	audit := policy.Host{EphemeralFirst: 32768, EphemeralLast: 60999, Listeners: []policy.Listener{
		{Service: port.Port{Proto: port.TCP, Number: 80}, Program: "httpd"},
		{Service: port.Port{Proto: port.TCP, Number: 8412}, Program: "echod"},
		{Service: port.Port{Proto: port.TCP, Number: 22}, Program: "sshd"},
	}}
	for _, c := range []struct {
		what string
		host *Host
		want []string
	}{
		{"nothing is known", nil, []string{only, ipv6}},
		{"it has IPv6", &Host{Interfaces: []string{"lo", "eth0"}, HasIPv6: true}, []string{only, ipv6}},
		{"it has no such interface", &Host{Interfaces: []string{"lo", "ens3"}}, []string{missing}},
		{"it has listeners", &Host{Audit: audit}, []string{only, listens, inUse, outgoing}},
	} {
		config, found := knockd.Parse("knockd.conf", []byte(conf))
		if config == nil {
			t.Fatal(found)
		}
		r := Knockd("knockd.conf", config, c.host)
		sound(t, r)
		var said strings.Builder
		if err := r.Found.Write(&said, policy.Style{}); err != nil {
			t.Fatal(err)
		}
		// A comment is broken into lines.
		text := strings.Join(strings.Fields(strings.ReplaceAll(string(r.Text), "\n#", " ")), " ")
		for _, part := range []string{only, missing, ipv6, listens, inUse, outgoing} {
			want := false
			for _, w := range c.want {
				want = want || w == part
			}
			if strings.Contains(said.String(), part) != want || strings.Contains(text, part) != want {
				t.Errorf("%s: %q: want %v in\n%s\n%s", c.what, part, want, said.String(), r.Text)
			}
		}
	}
}
