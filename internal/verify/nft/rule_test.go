package nft

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"tirl/internal/verify/ruleset"
)

// about is a table whose sets and chains the rules below refer to.
const about = `table inet t {
	set hosts { type ipv4_addr; flags interval; elements = { 10.0.0.0/8 } }
	set hosts6 { type ipv6_addr; elements = { 2001:db8::1 } }
	set ports { type inet_proto . inet_service; flags interval; elements = { tcp . 22, udp . 500-600 } }
	set odd { type inet_proto . inet_service; elements = { sctp . 22 } }
	set ifs { type ifname; elements = { "eth0", "wg0" } }
	set busy { type ipv4_addr; flags dynamic,timeout; }
	set soon { type ipv4_addr . inet_service; flags timeout; timeout 5s; }
	set halves { typeof @nh,64,64; flags dynamic,timeout; }
	map place { typeof ip saddr : meta priority; flags dynamic,timeout; }
	map step { typeof meta priority . th dport : meta priority; elements = { 0:1 . 22 : 0:2 } }
	map ends { typeof meta priority : verdict; elements = { 0:1 : goto other } }
	set weird { type ether_addr; }
	counter hits { }
	chain other { }
	chain input {
		type filter hook input priority 0; policy accept;
		RULE
	}
}
`

type (
	match  = ruleset.Match
	lookup = ruleset.Lookup
	write  = ruleset.Write
)

func nums(n ...uint32) (list []ruleset.Range) {
	for _, n := range n {
		list = append(list, ruleset.Range{First: n, Last: n})
	}
	return list
}

func between(first, last uint32) []ruleset.Range { return []ruleset.Range{{First: first, Last: last}} }

func nets(texts ...string) (list []netip.Prefix) {
	for _, s := range texts {
		list = append(list, netip.MustParsePrefix(s))
	}
	return list
}

func key(fields ...ruleset.Field) []ruleset.Field { return fields }

var (
	src4     = ruleset.Field{Kind: ruleset.FieldSrc, Family: ruleset.IPv4, Bits: 32}
	src6     = ruleset.Field{Kind: ruleset.FieldSrc, Family: ruleset.IPv6, Bits: 128}
	net64    = ruleset.Field{Kind: ruleset.FieldSrc, Family: ruleset.IPv6, Bits: 64}
	dport    = ruleset.Field{Kind: ruleset.FieldDPort}
	register = ruleset.Field{Kind: ruleset.FieldRegister}
	l4proto  = ruleset.Field{Kind: ruleset.FieldProto}

	ipv4   = match{Attr: ruleset.NFProto, Ranges: nums(4)}
	ipv6   = match{Attr: ruleset.NFProto, Ranges: nums(6)}
	isTCP  = match{Attr: ruleset.Proto, Ranges: nums(6)}
	isUDP  = match{Attr: ruleset.Proto, Ranges: nums(17)}
	accept = ruleset.Do{Verdict: ruleset.Accept}
	drop   = ruleset.Do{Verdict: ruleset.Drop}
)

type statementCase struct {
	rule string
	want []ruleset.Statement
}

// statementCases are rules of chain 0. Their sets are numbered in the order of
// use.
func statementCases() []statementCase {
	return []statementCase{
		{"accept", []ruleset.Statement{accept}},
		{"drop comment \"why\"", []ruleset.Statement{drop}},
		{"return", []ruleset.Statement{ruleset.Do{Verdict: ruleset.Return}}},
		{"jump other", []ruleset.Statement{ruleset.Do{Verdict: ruleset.Jump, Chain: 1}}},
		{"goto other", []ruleset.Statement{ruleset.Do{Verdict: ruleset.Goto, Chain: 1}}},
		{"continue", []ruleset.Statement{ruleset.Note{Text: "continue"}}},

		{"tcp dport 22 accept", []ruleset.Statement{isTCP, match{Attr: ruleset.DPort, Ranges: nums(22)}, accept}},
		{"tcp dport ssh accept", []ruleset.Statement{isTCP, match{Attr: ruleset.DPort, Ranges: nums(22)}, accept}},
		{"udp dport {domain, 22-24,25} drop", []ruleset.Statement{isUDP, match{Attr: ruleset.DPort, Ranges: []ruleset.Range{{First: 22, Last: 25}, {First: 53, Last: 53}}}, drop}},
		{"tcp dport != 22", []ruleset.Statement{isTCP, match{Attr: ruleset.DPort, Not: true, Ranges: nums(22)}}},
		{"tcp dport != { 22, 80 }", []ruleset.Statement{isTCP, match{Attr: ruleset.DPort, Not: true, Ranges: nums(22, 80)}}},
		{"tcp dport 1024 - 65535", []ruleset.Statement{isTCP, match{Attr: ruleset.DPort, Ranges: between(1024, 65535)}}},
		{"tcp dport >= 1024", []ruleset.Statement{isTCP, match{Attr: ruleset.DPort, Ranges: between(1024, 65535)}}},
		{"tcp dport < 1024", []ruleset.Statement{isTCP, match{Attr: ruleset.DPort, Ranges: between(0, 1023)}}},
		{"tcp dport == 0x16", []ruleset.Statement{isTCP, match{Attr: ruleset.DPort, Ranges: nums(22)}}},
		{"meta l4proto tcp tcp dport 22", []ruleset.Statement{isTCP, match{Attr: ruleset.DPort, Ranges: nums(22)}}},
		{"udp sport 67 udp dport 68", []ruleset.Statement{isUDP, match{Attr: ruleset.SPort, Ranges: nums(67)}, match{Attr: ruleset.DPort, Ranges: nums(68)}}},
		{"meta l4proto { tcp, udp } th dport 53", []ruleset.Statement{match{Attr: ruleset.Proto, Ranges: nums(6, 17)}, match{Attr: ruleset.DPort, Ranges: nums(53)}}},
		{"udp dport 1 th sport 2", []ruleset.Statement{isUDP, match{Attr: ruleset.DPort, Ranges: nums(1)}, match{Attr: ruleset.SPort, Ranges: nums(2)}}},

		{"meta nfproto ipv4", []ruleset.Statement{ipv4}},
		{"meta protocol ip6", []ruleset.Statement{ipv6}},
		{"meta nfproto != ipv6", []ruleset.Statement{match{Attr: ruleset.NFProto, Not: true, Ranges: nums(6)}}},
		{"ip saddr 10.1.2.3/8", []ruleset.Statement{ipv4, match{Attr: ruleset.Src, Prefixes: nets("10.0.0.0/8")}}},
		{"ip saddr != 198.51.100.7", []ruleset.Statement{ipv4, match{Attr: ruleset.Src, Not: true, Prefixes: nets("198.51.100.7/32")}}},
		{"ip saddr { 10.0.0.0/9, 10.128.0.0/9, 192.0.2.1-192.0.2.4 }", []ruleset.Statement{ipv4,
			match{Attr: ruleset.Src, Prefixes: nets("10.0.0.0/8", "192.0.2.1/32", "192.0.2.2/31", "192.0.2.4/32")}}},
		{"ip6 saddr { fe80::/10, ::1 }", []ruleset.Statement{ipv6, match{Attr: ruleset.Src, Prefixes: nets("::1/128", "fe80::/10")}}},
		{"meta nfproto ipv4 ip saddr 0.0.0.0/0", []ruleset.Statement{ipv4, match{Attr: ruleset.Src, Prefixes: nets("0.0.0.0/0")}}},
		{"ip protocol tcp tcp dport 22", []ruleset.Statement{ipv4, isTCP, match{Attr: ruleset.DPort, Ranges: nums(22)}}},
		{"meta l4proto { esp, 51, vrrp }", []ruleset.Statement{match{Attr: ruleset.Proto, Ranges: []ruleset.Range{{First: 50, Last: 51}, {First: 112, Last: 112}}}}},
		{"meta l4proto icmp", []ruleset.Statement{ipv4, match{Attr: ruleset.Proto, Ranges: nums(1)}}},
		{"icmp type echo-request", []ruleset.Statement{ipv4, match{Attr: ruleset.Proto, Ranges: nums(1)}, match{Attr: ruleset.ICMPType, Ranges: nums(8)}}},
		{"meta l4proto ipv6-icmp icmpv6 type { nd-router-solicit, 135 }", []ruleset.Statement{ipv6,
			match{Attr: ruleset.Proto, Ranges: nums(58)}, match{Attr: ruleset.ICMPType, Ranges: nums(133, 135)}}},

		{"iif lo", []ruleset.Statement{match{Attr: ruleset.Iface, Names: []string{"lo"}}}},
		{`iifname { "wg*", eth0 }`, []ruleset.Statement{match{Attr: ruleset.Iface, Names: []string{"eth0", "wg*"}}}},
		{`meta iifname != "eth0"`, []ruleset.Statement{match{Attr: ruleset.Iface, Not: true, Names: []string{"eth0"}}}},
		{"iifname @ifs", []ruleset.Statement{match{Attr: ruleset.Iface, Names: []string{"eth0", "wg0"}}}},
		{"ct state new,untracked", []ruleset.Statement{match{Attr: ruleset.Conn, Conns: ruleset.New | ruleset.Untracked}}},
		{"ct state { established, related } accept", []ruleset.Statement{match{Attr: ruleset.Conn, Conns: ruleset.Established | ruleset.Related}, accept}},
		{"ct state != { new, invalid }", []ruleset.Statement{match{Attr: ruleset.Conn, Not: true, Conns: ruleset.New | ruleset.Invalid}}},
		{"ct state != established", []ruleset.Statement{match{Attr: ruleset.Conn, Not: true, Conns: ruleset.Established}}},
		{"fib daddr type local", []ruleset.Statement{match{Attr: ruleset.Dest, Dests: ruleset.Local}}},
		{"fib daddr type != { broadcast, anycast, multicast }", []ruleset.Statement{match{Attr: ruleset.Dest, Not: true, Dests: ruleset.Broadcast | ruleset.Anycast | ruleset.Multicast}}},

		{"tcp flags syn", []ruleset.Statement{isTCP, match{Attr: ruleset.TCPFlags, Not: true, Mask: 2}}},
		{"tcp flags syn,ack", []ruleset.Statement{isTCP, match{Attr: ruleset.TCPFlags, Not: true, Mask: 18}}},
		{"tcp flags ! fin,rst", []ruleset.Statement{isTCP, match{Attr: ruleset.TCPFlags, Mask: 5}}},
		{"tcp flags == syn", []ruleset.Statement{isTCP, match{Attr: ruleset.TCPFlags, Mask: 255, Value: 2}}},
		{"tcp flags != 0x12", []ruleset.Statement{isTCP, match{Attr: ruleset.TCPFlags, Not: true, Mask: 255, Value: 18}}},
		{"tcp flags syn / fin,syn,rst,ack", []ruleset.Statement{isTCP, match{Attr: ruleset.TCPFlags, Mask: 23, Value: 2}}},
		{"tcp flags != syn / fin,syn,rst,ack", []ruleset.Statement{isTCP, match{Attr: ruleset.TCPFlags, Not: true, Mask: 23, Value: 2}}},
		{"tcp flags & (fin | syn | rst | ack) == syn", []ruleset.Statement{isTCP, match{Attr: ruleset.TCPFlags, Mask: 23, Value: 2}}},
		{"tcp flags & (syn|ack) != syn|ack", []ruleset.Statement{isTCP, match{Attr: ruleset.TCPFlags, Not: true, Mask: 18, Value: 18}}},
		{"tcp flags & syn == 0", []ruleset.Statement{isTCP, match{Attr: ruleset.TCPFlags, Mask: 2}}},

		{"meta priority none", []ruleset.Statement{match{Attr: ruleset.Register, Ranges: nums(0)}}},
		{"meta priority != { 0:1, b1a0:4dc5 }", []ruleset.Statement{match{Attr: ruleset.Register, Not: true, Ranges: nums(1, 0xb1a04dc5)}}},
		{"meta priority set 1:a", []ruleset.Statement{ruleset.SetRegister{Value: 0x1000a}}},
		{"meta priority set ip saddr map @place", []ruleset.Statement{ruleset.Load{Key: key(src4)}}},
		{"meta priority set udp dport map { 1 : 0:1, 2 : 0:2 }", []ruleset.Statement{isUDP, ruleset.Load{Key: key(dport)}}},
		{"meta priority vmap @ends", []ruleset.Statement{ruleset.VerdictMap{Key: key(register)}}},
		{"tcp dport vmap { 22 : accept, 80-90 : jump other }", []ruleset.Statement{isTCP, ruleset.VerdictMap{Key: key(dport)}}},

		{"ip saddr @hosts", []ruleset.Statement{lookup{Key: key(src4)}}},
		{"ip saddr != @hosts", []ruleset.Statement{lookup{Key: key(src4), Not: true}}},
		{"ip6 saddr @hosts6", []ruleset.Statement{lookup{Key: key(src6)}}},
		{"meta l4proto . th dport @ports", []ruleset.Statement{lookup{Key: key(l4proto, dport)}}},
		{"ip saddr . tcp dport @soon", []ruleset.Statement{isTCP, lookup{Key: key(src4, dport)}}},
		{"ip saddr . tcp dport { 10.0.0.1 . 22, 10.0.0.2-10.0.0.3 . 80 }", []ruleset.Statement{isTCP, lookup{Key: key(src4, dport)}}},
		{"ip6 saddr & ffff:ffff:ffff:ffff:: @hosts6", []ruleset.Statement{lookup{Key: key(net64)}}},

		{"add @busy { ip saddr timeout 1m30s }", []ruleset.Statement{write{Key: key(src4), Timeout: 90 * time.Second}}},
		{"update @busy { ip saddr timeout 2s limit rate over 20/second burst 40 packets } drop", []ruleset.Statement{
			write{Op: ruleset.Update, Key: key(src4), Timeout: 2 * time.Second, Limit: &ruleset.Limit{Count: 20, Per: time.Second, Burst: 40, Over: true}}, drop}},
		{"delete @busy { ip saddr }", []ruleset.Statement{write{Op: ruleset.Delete, Key: key(src4)}}},
		{"set add ip saddr timeout 3s @busy", []ruleset.Statement{write{Key: key(src4), Timeout: 3 * time.Second}}},
		{"set update ip saddr @busy", []ruleset.Statement{write{Op: ruleset.Update, Key: key(src4)}}},
		{"udp dport 1 add @soon { ip saddr . 234 }", []ruleset.Statement{isUDP, match{Attr: ruleset.DPort, Ranges: nums(1)},
			write{Key: key(src4, ruleset.Field{Kind: ruleset.FieldConst, Const: 234}), Timeout: 5 * time.Second}}},
		{"add @soon { ip saddr . https timeout 1s counter }", []ruleset.Statement{
			write{Key: key(src4, ruleset.Field{Kind: ruleset.FieldConst, Const: 443}), Timeout: time.Second}}},
		{"add @place { ip saddr timeout 10s : meta priority }", []ruleset.Statement{write{Key: key(src4), Timeout: 10 * time.Second, Value: &register}}},
		{"add @place { ip saddr : 0:7 }", []ruleset.Statement{write{Key: key(src4), Value: &ruleset.Field{Kind: ruleset.FieldConst, Const: 7}}}},
		{"ip6 hoplimit . ip6 saddr { 64 . ::1 }", []ruleset.Statement{lookup{Key: key(ruleset.Field{Kind: ruleset.FieldTTL}, src6)}}},
		{"meta nfproto ipv6 update @halves { @nh,64,64 timeout 1s }", []ruleset.Statement{ipv6, write{Op: ruleset.Update, Key: key(net64), Timeout: time.Second}}},

		{"counter packets 5 bytes 6 accept", []ruleset.Statement{ruleset.Note{Text: "counter"}, accept}},
		{`counter name "hits"`, []ruleset.Statement{ruleset.Note{Text: "counter hits"}}},
		{`limit rate 10/minute log prefix "x: " level debug flags tcp sequence,options accept`, []ruleset.Statement{
			ruleset.GlobalLimit{Limit: ruleset.Limit{Count: 10, Per: time.Minute, Burst: 5}}, ruleset.Note{Text: `log prefix "x: "`}, accept}},
		{"log group 5 snaplen 20 queue-threshold 3 drop", []ruleset.Statement{ruleset.Note{Text: "log"}, drop}},
		{"reject", []ruleset.Statement{ruleset.Do{Verdict: ruleset.RejectPort}}},
		{"reject with tcp reset", []ruleset.Statement{isTCP, ruleset.Do{Verdict: ruleset.RejectReset}}},
		{"add @busy { ip saddr timeout 1s } counter reject with tcp reset", []ruleset.Statement{
			isTCP, write{Key: key(src4), Timeout: time.Second}, ruleset.Note{Text: "counter"}, ruleset.Do{Verdict: ruleset.RejectReset}}},
		{"meta l4proto udp reject with icmpx type port-unreachable", []ruleset.Statement{isUDP, ruleset.Do{Verdict: ruleset.RejectPort}}},
		{"reject with icmp port-unreachable", []ruleset.Statement{ipv4, ruleset.Do{Verdict: ruleset.RejectPort}}},
		{"reject with icmpv6 type no-route", []ruleset.Statement{ipv6, ruleset.Do{Verdict: ruleset.RejectOther}}},
	}
}

func TestStatements(t *testing.T) {
	for _, c := range statementCases() {
		r, err := Parse(strings.Replace(about, "RULE", c.rule, 1))
		if err != nil {
			t.Errorf("%s: %v", c.rule, err)
			continue
		}
		rules := r.Chains[0].Rules
		if len(rules) != 1 || rules[0].Text != c.rule || rules[0].Line != 18 {
			t.Errorf("%s: rules are %+v", c.rule, rules)
			continue
		}
		if diff := gocmp.Diff(c.want, rules[0].Statements, samePrefix); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.rule, diff)
		}
	}
}

var samePrefix = gocmp.Comparer(func(p, q netip.Prefix) bool { return p == q })
