package onetime

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"tirl/internal/policy"
	"tirl/internal/port"
)

// The example of docs/one-time.md is what is computed.
func TestDocumentedExample(t *testing.T) {
	text, err := os.ReadFile("../../docs/one-time.md")
	if err != nil {
		t.Fatal(err)
	}
	var s Secret
	for i := range s {
		s[i] = byte(i)
	}
	p := Params{Kind: policy.Sequence, First: port.Port{Proto: port.TCP, Number: 7719}, Length: 7, Lo: 1024, Hi: 65535, Pool: 256}
	token, to := s.Token(255, p)
	var knocks []string
	for _, k := range s.Sequence(1, p) {
		knocks = append(knocks, k.String())
	}
	for _, want := range []string{
		fmt.Sprintf("payload  %x\n", token), fmt.Sprintf("mod 64512 = %d\n", to), strings.Join(knocks, " "), s.ID(),
		fmt.Sprintf("%x 00000000000000ff", tokenContext), fmt.Sprintf("%x 0000000000000001", sequenceContext),
		`"` + tokenContext + `"`, `"` + sequenceContext + `"`, `"` + idContext + `"`,
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("docs/one-time.md has no %q", want)
		}
	}
}
