package nft

import (
	"context"
	"os"
	"path/filepath"
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
	written, err := filepath.Glob("testdata/*.nft")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range append(written, rendered(t)...) {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			sameAsListed(t, file)
		})
	}
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
