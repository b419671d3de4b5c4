package importer

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tirl/internal/automaton"
	"tirl/internal/backend"
	"tirl/internal/backend/iptables"
	"tirl/internal/backend/nftables"
	"tirl/internal/policy"
	"tirl/internal/verify/parse"
	"tirl/internal/verify/xtables"
)

// recipes hands each ruleset of testdata/rules to f.
func recipes(t testing.TB, f func(base string, text []byte, isNft bool)) {
	t.Helper()
	files, err := filepath.Glob("testdata/rules/*")
	if err != nil || len(files) == 0 {
		t.Fatalf("no rulesets: %v", err)
	}
	for _, file := range files {
		kind := filepath.Ext(file)
		if kind != ".sh" && kind != ".save" && kind != ".nft" {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		f(file, text, kind == ".nft")
	}
}

func TestRules(t *testing.T) {
	recipes(t, func(file string, text []byte, isNft bool) {
		base := strings.TrimSuffix(file, filepath.Ext(file))
		t.Run(filepath.Base(base), func(t *testing.T) {
			t.Parallel()
			r, err := Rules(filepath.Base(file), text, isNft, nil)
			if err != nil {
				t.Fatal(err)
			}
			sound(t, r)
			golden(t, base+".toml", r.Text)
			var messages bytes.Buffer
			if err := r.Found.Write(&messages, policy.Style{}); err != nil {
				t.Fatal(err)
			}
			if r.Proof != nil {
				fmt.Fprintf(&messages, "%s\n", strings.Join(r.Proof.Told, "\n"))
			}
			fmt.Fprintf(&messages, "%d left\n", r.Left)
			golden(t, base+".txt", messages.Bytes())
		})
	})
}

func TestRulesKind(t *testing.T) {
	for _, tt := range []struct {
		text  string
		isNft bool
		want  parse.Kind
	}{
		{"table inet x {\n}\n", false, parse.Nftables},
		{"iptables -F\n", true, parse.Script},
		{"*filter\nCOMMIT\n", true, parse.Iptables},
	} {
		_, err := Rules("x", []byte(tt.text), tt.isNft, nil)
		if kind, ok := errors.AsType[*KindError](err); !ok || kind.Kind != tt.want {
			t.Errorf("%q: %v", tt.text, err)
		}
	}
	if _, err := Rules("x", []byte("table inet x {\n"), true, nil); err == nil {
		t.Error("an open table was read")
	}
}

// What tirl itself renders comes back as the policy that it was, but for the doors'
// names, and is proved without assumptions.
func TestRulesOfTirl(t *testing.T) {
	const text = `mode = "%s"

[door.ssh]
opens    = ["tcp/22"]
knocks   = ["udp/40213", "udp/7719", "udp/28816"]
open_for = "%s"

[door.udp-51820]
opens    = ["udp/51820"]
knocks   = ["udp/40213", "tcp/7000", "udp/28816", "udp/999"]
open_for = "8h"
from     = ["203.0.113.0/24"]
`
	for _, tt := range []struct{ mode, openFor string }{{"guard", "30s"}, {"firewall", "once"}, {"guard", "once"}} {
		p, ds := policy.Parse("policy.toml", fmt.Appendf(nil, text, tt.mode, tt.openFor))
		if p == nil {
			t.Fatal(ds)
		}
		g, err := automaton.Compile(p)
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range []backend.Backend{nftables.New(nil), iptables.New(nil)} {
			files, err := b.Render(g)
			if err != nil {
				t.Fatal(err)
			}
			rules := files[0].Text
			if len(files) > 1 {
				rules = xtables.Join(files[0].Text, files[1].Text)
			}
			r, err := Rules("rules", []byte(rules), b.Name() == policy.BackendNftables, nil)
			if err != nil {
				t.Fatal(err)
			}
			if r.Policy == nil || r.Policy.Hash() != p.Hash() || !r.Proof.Proved || len(r.Proof.Assumptions) > 0 {
				t.Errorf("%s, %s, %s: %+v\n%s", tt.mode, tt.openFor, b.Name(), r.Proof, r.Text)
			}
		}
	}
}
