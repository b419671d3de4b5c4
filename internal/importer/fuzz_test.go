package importer

import (
	"strings"
	"testing"

	"tirl/internal/knockd"
	"tirl/internal/port"
)

// FuzzKnockd: whatever knockd accepts becomes a sound policy, whose doors let in
// by the sections' own knocks only.
func FuzzKnockd(f *testing.F) {
	configs(f, func(_ string, text []byte) { f.Add(text) })
	f.Fuzz(func(t *testing.T, text []byte) {
		config, found := knockd.Parse("knockd.conf", text)
		if config == nil {
			if !found.HasErrors() {
				t.Fatal("refused without a reason")
			}
			return
		}
		r := Knockd("knockd.conf", config, nil)
		sound(t, r)
		if r.Policy == nil {
			return
		}
		sequences := map[string]bool{}
		for _, d := range config.Doors {
			sequences[key(d.Ports())] = true
		}
		for _, d := range r.Policy.Doors {
			if !sequences[key(d.Knocks)] {
				t.Fatalf("no section has the knocks of door %s", d.Name)
			}
		}
	})
}

func key(ports []port.Port) (s string) {
	for _, p := range ports {
		s += p.String() + " "
	}
	return s
}

// FuzzRules: whatever rules are read become a sound policy, or none.
func FuzzRules(f *testing.F) {
	for _, text := range []string{
		"iptables -A INPUT -p udp --dport 7001 -m recent --name a --set -j DROP\niptables -A INPUT -p udp --dport 9009 -m recent --name a --rcheck --seconds 10 -m recent --name b --set -j DROP\niptables -A INPUT -p tcp --dport 22 -m recent --name b ! --rcheck -j DROP\n",
		"*filter\n:INPUT DROP [0:0]\n-A INPUT -p tcp --dport 22 -m recent --name a --update --seconds 9 -j ACCEPT\n-A INPUT -p udp --dport 4:9 -m recent --name a --set\n-A INPUT -m length --length 4 -j DROP\nCOMMIT\n",
		"table ip t {\nset s { type ipv4_addr; flags dynamic,timeout; timeout 9s; }\nchain c { type filter hook input priority 0; policy drop;\nip saddr @s tcp dport 22 accept\nudp dport 7001 add @s { ip saddr }\n}\n}\n",
	} {
		f.Add([]byte(text), strings.HasPrefix(text, "table"))
	}
	f.Fuzz(func(t *testing.T, text []byte, isNft bool) {
		r, err := Rules("rules", text, isNft, nil)
		if err != nil {
			return
		}
		sound(t, r)
		if r.Left == 0 && r.Policy != nil && r.Proof == nil {
			t.Fatal("a policy was not held against the rules")
		}
	})
}
