package xtables

import (
	"testing"

	"tirl/internal/verify/ruleset"
)

const reference = `hook 1/1 INPUT policy accept
chain INPUT
	10: conn{Conns:6} accept
	11: src{Prefixes:[127.0.0.0/8]} accept
	12: proto{Ranges:[1-1]} accept
	13: proto{Ranges:[6-6]} dport{Ranges:[80-80]} accept
	14: lookup(KNOCK3){Key:[{Family:1 Bits:32}]} jump(STATE3)
	15: lookup(KNOCK2){Key:[{Family:1 Bits:32}]} jump(STATE2)
	16: lookup(KNOCK1){Key:[{Family:1 Bits:32}]} jump(STATE1)
	17: jump(STATE0)
chain STATE3
	26: remove(KNOCK3){Key:[{Family:1 Bits:32}]}
	27: proto{Ranges:[6-6]} dport{Ranges:[22-22]} accept
	28: jump(STATE0)
chain STATE0
	18: proto{Ranges:[17-17]} dport{Ranges:[12345-12345]} mark(KNOCK1){Key:[{Family:1 Bits:32}]} drop
	19: drop
chain STATE2
	23: remove(KNOCK2){Key:[{Family:1 Bits:32}]}
	24: proto{Ranges:[17-17]} dport{Ranges:[34567-34567]} mark(KNOCK3){Key:[{Family:1 Bits:32}]} drop
	25: jump(STATE0)
chain STATE1
	20: remove(KNOCK1){Key:[{Family:1 Bits:32}]}
	21: proto{Ranges:[17-17]} dport{Ranges:[23456-23456]} mark(KNOCK2){Key:[{Family:1 Bits:32}]} drop
	22: jump(STATE0)
`

// The rules of the founding document, as iptables-save prints them.
func TestReference(t *testing.T) {
	for _, name := range saves(t) {
		r, err := Parse(read(t, name), ruleset.Both)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := dump(r); got != reference {
			t.Errorf("%s: %s", name, got)
		}
	}
}
