package importer

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tirl/internal/policy"
	"tirl/internal/verify/parse"
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
