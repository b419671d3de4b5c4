package xtables

import (
	"strings"
	"testing"

	"tirl/internal/verify/ruleset"
)

// ours is the key of a source as a whole.
const ours = "Key:[{Family:1 Bits:32}]"

type ruleCase struct{ rule, want string }

func rules4() []ruleCase {
	return []ruleCase{
		{"", ""},
		{"-j ACCEPT", "accept"},
		{"-j DROP", "drop"},
		{"-j RETURN", "return"},
		{"-j NEXT", "jump(NEXT)"},
		{"-g NEXT", "goto(NEXT)"},
		{"-j REJECT", "reject-port"},
		{"-j REJECT --reject-with icmp-port-unreachable", "reject-port"},
		{"-j REJECT --reject-with icmp-host-prohibited", "reject-other"},
		{"-p tcp -j REJECT --reject-with tcp-reset", "proto{Ranges:[6-6]} reset"},
		{`-j LOG --log-prefix "a \"b\" " --log-level 6`, "note{Text:LOG}"},
		{"-j NFLOG --nflog-group 5 --nflog-prefix x", "note{Text:NFLOG}"},
		{`-m comment --comment "-j ACCEPT" -j DROP`, "drop"},
		{"-c 12 34 -j DROP", "drop"},

		{"-i lo", "iface{Names:[lo]}"},
		{"! -i eth+", "iface{Not:true Names:[eth*]}"},
		{"-i +", ""},
		{"-o + -d 0.0.0.0/0", ""},
		{"-s 192.0.2.1", "src{Prefixes:[192.0.2.1/32]}"},
		{"! -s 192.0.2.77/24", "src{Not:true Prefixes:[192.0.2.0/24]}"},
		{"--source 10.0.0.0/255.0.0.0", "src{Prefixes:[10.0.0.0/8]}"},
		{"-s 0.0.0.0/0", ""},
		{"-j DROP -p udp -s 10.0.0.0/8 -i lo", "src{Prefixes:[10.0.0.0/8]} iface{Names:[lo]} proto{Ranges:[17-17]} drop"},
		{"-p all", ""},
		{"! -p icmp", "proto{Not:true Ranges:[1-1]}"},
		{"-p 50", "proto{Ranges:[50-50]}"},
		{"-p vrrp", "proto{Ranges:[112-112]}"},
		{"-p TCP", "proto{Ranges:[6-6]}"},

		{"-p tcp --dport 22", "proto{Ranges:[6-6]} dport{Ranges:[22-22]}"},
		{"-p tcp -m tcp --dport 9000:9003", "proto{Ranges:[6-6]} dport{Ranges:[9000-9003]}"},
		{"-p udp --destination-port=53 -j DROP", "proto{Ranges:[17-17]} dport{Ranges:[53-53]} drop"},
		{"-p udp ! --sport 1024: --dport :99", "proto{Ranges:[17-17]} sport{Not:true Ranges:[1024-65535]} dport{Ranges:[0-99]}"},
		{"-p tcp --dport 0:65535", "proto{Ranges:[6-6]}"},
		{"-p tcp ! --dport 0:65535", "proto{Ranges:[6-6]} dport{Not:true Ranges:[0-65535]}"},
		{"-p tcp -m multiport --dports 22,9000:9003", "proto{Ranges:[6-6]} dport{Ranges:[22-22 9000-9003]}"},
		{"-p udp -m multiport ! --source-ports 1,2", "proto{Ranges:[17-17]} sport{Not:true Ranges:[1-1 2-2]}"},
		{"-p tcp --syn", "proto{Ranges:[6-6]} flags{Mask:23 Value:2}"},
		{"-p tcp ! --tcp-flags FIN,SYN,RST,ACK SYN", "proto{Ranges:[6-6]} flags{Not:true Mask:23 Value:2}"},
		{"-p tcp --tcp-flags ALL NONE", "proto{Ranges:[6-6]} flags{Mask:63}"},
		{"-p icmp --icmp-type 8", "proto{Ranges:[1-1]} icmp{Ranges:[8-8]}"},
		{"-p icmp -m icmp ! --icmp-type echo-request", "proto{Ranges:[1-1]} icmp{Not:true Ranges:[8-8]}"},
		{"-p icmp --icmp-type any", "proto{Ranges:[1-1]}"},
		{"-p icmp --icmp-type 255", "proto{Ranges:[1-1]}"},

		{"-m state --state RELATED,ESTABLISHED", "conn{Conns:6}"},
		{"-m conntrack ! --ctstate NEW,UNTRACKED", "conn{Not:true Conns:17}"},
		{"-m conntrack --ctstate INVALID", "conn{Conns:8}"},
		{"-m addrtype --dst-type LOCAL", "dest{Dests:1}"},
		{"-m addrtype ! --dst-type BROADCAST,multicast,ANYCAST", "dest{Not:true Dests:14}"},
		{"-m addrtype --dst-type UNICAST", "dest{Dests:16}"},

		{"-m recent --set", "mark(DEFAULT){" + ours + "}"},
		{"-m recent --name K --set --mask 255.255.255.255 --rsource", "mark(K){" + ours + "}"},
		{"-m recent --set --mask 255.255.255.0", "mark(DEFAULT){Key:[{Family:1 Bits:24}]}"},
		{"-m recent --rdest --set", "mark(DEFAULT){Key:[{Kind:8 Name:destination address}]}"},
		{"-m recent --rcheck --name K", "lookup(K){" + ours + "}"},
		{"-m recent ! --rcheck --seconds 60 --hitcount 6 --name K", "lookup(K){" + ours + " Not:true Within:1m0s Hits:6}"},
		{"-m recent --update --seconds 5 --rttl --name K", "lookup(K){" + ours + " Within:5s Touch:true SameTTL:true}"},
		{"-m recent ! --update --name K", "lookup(K){" + ours + " Not:true}"},
		{"-m recent --remove --name K", "remove(K){" + ours + "}"},
		{"-m recent ! --remove --name K", "remove(K){" + ours + " Not:true}"},
		// A match that never holds marks all the same, and nothing comes after it.
		{"-m recent ! --set --name K -m recent --remove --name L -j ACCEPT", "mark(K){" + ours + "}"},
		// The protocol comes first wherever it stands, a port where its match is loaded.
		{"-m recent --set --name K -p udp --dport 5 -j DROP",
			"proto{Ranges:[17-17]} mark(K){" + ours + "} dport{Ranges:[5-5]} drop"},
		{"-m recent --set -m comment --comment x --name K", "mark(K){" + ours + "}"},
		{"-m recent --name K -p tcp --rcheck -m recent --name L --remove --syn",
			"proto{Ranges:[6-6]} lookup(K){" + ours + "} remove(L){" + ours + "} flags{Mask:23 Value:2}"},

		{"-m limit", "globallimit{Limit:{Count:3 Per:1h0m0s Burst:5}}"},
		{"-m limit --limit 120/min --limit-burst 7", "globallimit{Limit:{Count:2 Per:1s Burst:7}}"},
		{"-m hashlimit --hashlimit 60/min --hashlimit-name h --hashlimit-mode srcip",
			"hashlimit{Name:h " + ours + " Limit:{Count:1 Per:1s Burst:5} Expire:1m0s}"},
		{"-m hashlimit --hashlimit-above 20/sec --hashlimit-burst 40 --hashlimit-mode dstport,srcip --hashlimit-srcmask 24 " +
			"--hashlimit-name i --hashlimit-htable-size 9 --hashlimit-htable-max 10 --hashlimit-htable-expire 2000",
			"hashlimit{Name:i Key:[{Family:1 Bits:24} {Kind:3}] Limit:{Count:20 Per:1s Burst:40 Over:true} Expire:2s}"},
	}
}

func rules6() []ruleCase {
	return []ruleCase{
		{"-s fe80::/10", "src{Prefixes:[fe80::/10]}"},
		{"-s 2001:db8::1", "src{Prefixes:[2001:db8::1/128]}"},
		{"-p ipv6-icmp -m icmp6 --icmpv6-type 135", "proto{Ranges:[58-58]} icmp{Ranges:[135-135]}"},
		{"-p icmpv6 --icmpv6-type echo-request", "proto{Ranges:[58-58]} icmp{Ranges:[128-128]}"},
		{"-m recent --set --mask ffff:ffff:ffff:ffff::", "mark(DEFAULT){Key:[{Family:2 Bits:64}]}"},
		{"-m recent --set", "mark(DEFAULT){Key:[{Family:2 Bits:128}]}"},
		{"-j REJECT --reject-with icmp6-adm-prohibited", "reject-other"},
		{"-j REJECT --reject-with icmp6-port-unreachable", "reject-port"},
		{"-m addrtype --dst-type UNICAST", "dest{Dests:25}"},
		{"-m addrtype --dst-type LOCAL,ANYCAST", "dest{Dests:9}"},
		{"-m hashlimit --hashlimit-upto 1/hour --hashlimit-mode srcip --hashlimit-srcmask 64 --hashlimit-name h",
			"hashlimit{Name:h Key:[{Family:2 Bits:64}] Limit:{Count:1 Per:1h0m0s Burst:5} Expire:1h0m0s}"},
	}
}

func TestRules(t *testing.T) {
	for _, tt := range rules4() {
		tt.check(t, ruleset.IPv4)
	}
	for _, tt := range rules6() {
		tt.check(t, ruleset.IPv6)
	}
}

func (c ruleCase) check(t *testing.T, family ruleset.Family) {
	got, err := Parse("*filter\n:NEXT - [0:0]\n-A INPUT "+c.rule+"\nCOMMIT\n", family)
	if err != nil {
		t.Errorf("%s: %v", c.rule, err)
		return
	}
	var all []string
	for _, s := range got.Chains[0].Rules[0].Statements {
		all = append(all, statement(got, s))
	}
	out := strings.Join(all, " ")
	if out != c.want || len(got.Chains[0].Rules) != 1 || got.Chains[0].Rules[0].Line != 3 {
		t.Errorf("%s: got %s\nwant %s", c.rule, out, c.want)
	}
}

// iptables makes a rule of each source address.
func TestSeveralSources(t *testing.T) {
	r, err := Parse("*filter\n-A INPUT -s 192.0.2.1,0.0.0.0/0,10.0.0.0/8 -p tcp -j DROP\nCOMMIT\n", ruleset.IPv4)
	if err != nil {
		t.Fatal(err)
	}
	want := `hook 1/1 INPUT policy accept
chain INPUT
	2: src{Prefixes:[192.0.2.1/32]} proto{Ranges:[6-6]} drop
	2: proto{Ranges:[6-6]} drop
	2: src{Prefixes:[10.0.0.0/8]} proto{Ranges:[6-6]} drop
`
	if got := dump(r); got != want {
		t.Error(got)
	}
}

func TestRefused(t *testing.T) {
	for _, tt := range []struct{ rule, what string }{
		{"-m string --string x --algo bm", "match `string`"},
		{"-m set --match-set x src", "match `set`"},
		{"-m length --length 1", "match `length`"},
		{"-m mark --mark 1", "match `mark`"},
		{"-m pkttype --pkt-type unicast", "match `pkttype`"},
		{"-m u32 --u32 x", "match `u32`"},
		{"-p sctp --dport 1", "option `--dport`"},
		{"-f", "match `-f`"},
		{"-d 192.0.2.1", "match `-d`"},
		{"! -d 0.0.0.0/0", "match `-d`"},
		{"-o eth0", "match `-o`"},
		{"! -i +", "interface `+`"},
		{"-i eth*", "interface `eth*`"},
		{"-p tcpp", "protocol `tcpp`"},
		{"-p tcp --tcp-option 5", "option `--tcp-option`"},
		{"-p tcp --dpo 5", "option `--dpo`"},
		{"--dport 5 -p tcp", "option `--dport`"},
		{"-p tcp -m multiport --ports 5", "option `--ports`"},
		{"-p sctp -m multiport --dports 5", "match `multiport` without -p tcp or udp"},
		{"-p icmp --icmp-type 3/1", "--icmp-type `3/1`"},
		{"-p icmp --icmp-type host-unreachable", "--icmp-type `host-unreachable`"},
		{"-p icmp ! --icmp-type any", "`! --icmp-type any`"},
		{"-m conntrack --ctstate NEW,DNAT", "state `DNAT`"},
		{"-m conntrack --ctproto 6", "option `--ctproto`"},
		{"-m addrtype --src-type LOCAL", "option `--src-type`"},
		{"-m addrtype --dst-type BLACKHOLE", "type of address `BLACKHOLE`"},
		{"-m addrtype --dst-type LOCAL --limit-iface-in", "option `--limit-iface-in`"},
		{"-m recent --update --seconds 5 --reap", "option `--reap`"},
		{"-m recent ! --update --seconds 5", "`! --update` with --seconds or --hitcount"},
		{"-m recent --set --mask 255.0.255.0", "mask `255.0.255.0`"},
		{"-m recent --set --mask 0.0.0.0", "mask `0.0.0.0`"},
		{"-m hashlimit --hashlimit-upto 9kb/s --hashlimit-name h --hashlimit-mode srcip", "rate `9kb/s`"},
		{"-m hashlimit --hashlimit-upto 9/s --hashlimit-name h", "match `hashlimit` without --hashlimit-mode"},
		{"-m hashlimit --hashlimit-rate-match", "option `--hashlimit-rate-match`"},
		{"-j DNAT --to 1.2.3.4", "target `DNAT`"},
		{"-j MARK --set-mark 1", "target `MARK`"},
		{"-j NFQUEUE", "target `NFQUEUE`"},
		{"-j ACCEPT --reject-with x", "option `--reject-with`"},
		{"-j REJECT --reject-with icmp6-no-route", "REJECT with `icmp6-no-route`"},
		{"-6 -j DROP", "option `-6`"},
	} {
		_, err := Parse("*filter\n-A INPUT "+tt.rule+"\nCOMMIT\n", ruleset.IPv4)
		checkUnknown(t, tt.rule, err, 2, tt.what)
	}
}
