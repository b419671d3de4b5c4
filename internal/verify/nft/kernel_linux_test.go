package nft

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"tirl/internal/automaton"
	"tirl/internal/automaton/automatontest"
	"tirl/internal/backend/nftables"
	"tirl/internal/lab"
	"tirl/internal/lab/labtest"
)

func TestMain(m *testing.M) { os.Exit(labtest.Main(m)) }

// listed gives what nft prints of a ruleset that it has loaded.
func listed(text string) (string, error) {
	n, err := lab.NewNamespace()
	if err != nil {
		return "", err
	}
	defer n.Close()
	if _, err := n.Run(context.Background(), text, "nft", "-f", "-"); err != nil {
		return "", err
	}
	return n.Run(context.Background(), "", "nft", "list", "ruleset")
}

func sameAsListed(t testing.TB, file string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	listing, err := listed(string(text))
	if err != nil {
		t.Fatal(err)
	}
	same(t, "-as written +as nft lists it", mustParse(t, string(text)), mustParse(t, listing))
}

func TestWrittenIsWhatIsListed(t *testing.T) {
	labtest.Require(t)
	for _, file := range append(written(t), rendered(t)...) {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			sameAsListed(t, file)
		})
	}
}

// TestLiveListing: what packets and administrators have put into sets changes
// nothing of what is read.
func TestLiveListing(t *testing.T) {
	labtest.Require(t)
	text, err := os.ReadFile("../../backend/nftables/testdata/everything.nft")
	if err != nil {
		t.Fatal(err)
	}
	listing, err := listed(string(text) + `
add element inet tirl started4_ttl64 { 10.9.0.2 . 64 timeout 10s : 0:1, 10.9.0.3 . 255 timeout 1d2h expires 5s : 0:5 }
add element inet tirl started6_ttl64 { 0x20010db800090000 . 64 timeout 10s : 0:1 }
add element inet tirl bucket6_ttl64 { 2001:db8:: . 64 timeout 2s }
add element inet tirl given4 { 10.9.0.2 . b1a0:4dc5 timeout 1h }
`)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{"10.9.0.3 . 255 timeout 1d2h", "timeout 1h expires"} {
		if !strings.Contains(listing, s) {
			t.Errorf("the listing lacks %q", s)
		}
	}
	same(t, "-as written +as nft lists it", mustParse(t, string(text)), mustParse(t, listing))
}

// TestStatementsAreWhatIsListed loads every rule that is understood, each in a
// chain of its own.
func TestStatementsAreWhatIsListed(t *testing.T) {
	labtest.Require(t)
	var chains, jumps strings.Builder
	for i, c := range statementCases() {
		fmt.Fprintf(&chains, "\tchain c%d {\n\t\t%s\n\t}\n", i, c.rule)
		fmt.Fprintf(&jumps, "\t\tjump c%d\n", i)
	}
	text := strings.Replace(about, "\tchain input", chains.String()+"\tchain input", 1)
	text = strings.Replace(text, "RULE", jumps.String(), 1)
	listing, err := listed(text)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "-as written +as nft lists it", mustParse(t, text), mustParse(t, listing))
}

func TestRandomPoliciesAreWhatIsListed(t *testing.T) {
	labtest.Require(t)
	programs := rapid.Custom(func(t *rapid.T) *automaton.Program { return automatontest.Program(t, automatontest.Options{}) })
	loaded := 0
	for seed := range 20 {
		texts, err := nftables.New(nil).Render(programs.Example(seed))
		if err != nil {
			t.Fatal(err)
		}
		listing, err := listed(texts[0].Text)
		if err != nil {
			continue // a key that this version of nft cannot build
		}
		loaded++
		same(t, "-as written +as nft lists it", mustParse(t, texts[0].Text), mustParse(t, listing))
	}
	if loaded < 10 {
		t.Errorf("only %d random policies could be loaded", loaded)
	}
}
