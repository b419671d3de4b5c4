package iptables

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tirl/internal/backend"
)

// Rules of others that come before tirl's are told, and what is listed is tirl's alone.
func TestInFront(t *testing.T) {
	r := parse(saved)
	want := []backend.Rule{
		{Where: "chain PREROUTING of iptables, table mangle", Text: "-A PREROUTING -j TIRLESS"},
		{Where: "chain PREROUTING of iptables, table mangle", Text: `-A PREROUTING -m comment --comment "so much for -j TIRL" -j ACCEPT`},
	}
	if diff := cmp.Diff(want, r.inFront(saved, "iptables")); diff != "" {
		t.Error(diff)
	}
	if first := parse("*mangle\n:TIRL - [0:0]\n-A PREROUTING -j TIRL\n-A PREROUTING -j DROP\nCOMMIT\n"); len(first.inFront("*mangle\n-A PREROUTING -j TIRL\n-A PREROUTING -j DROP\n", "iptables")) > 0 {
		t.Error("a rule behind is told too")
	}
	text := r.alone().restore(ruleset{})
	if !strings.Contains(text, "-I PREROUTING 1 ") || strings.Contains(text, "-j TIRLESS") {
		t.Error(text)
	}
	if r.find("mangle").jumps[0].at != 3 {
		t.Error("alone has changed what it was made of")
	}
}
