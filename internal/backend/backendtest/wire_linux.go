package backendtest

import (
	"tirl/internal/automaton"
	"tirl/internal/lab"
)

// dress gives a packet the headers that stand before its transport header. None
// asks anything of anybody: the options that record have room for one entry.
func dress(f *lab.Packet, with automaton.Headers) {
	f.Tagged = with&automaton.PriorityTag != 0
	for _, o := range []struct {
		header automaton.Headers
		option []byte
	}{
		{automaton.RouterAlert, []byte{148, 4, 0, 0}},
		{automaton.NoOperation, []byte{1}},
		{automaton.RecordRoute, []byte{7, 7, 4, 0, 0, 0, 0}},
		{automaton.Timestamp, []byte{68, 8, 5, 0, 0, 0, 0, 0}},
	} {
		if with&o.header != 0 {
			f.Options = append(f.Options, o.option...)
		}
	}
	padding := []byte{1, 4, 0, 0, 0, 0} // PadN, RFC 8200, section 4.2
	for _, e := range []struct {
		header automaton.Headers
		made   lab.Extension
	}{
		{automaton.HopByHop, lab.Extension{Header: 0, Data: padding}},
		{automaton.Destinations, lab.Extension{Header: 60, Data: padding}},
		{automaton.Routing, lab.Extension{Header: 43, Data: make([]byte, 6)}}, // no segments left
	} {
		if with&e.header != 0 {
			f.Extensions = append(f.Extensions, e.made)
		}
	}
}

// filling makes a packet long enough to be cut into three.
const filling = 40

// cut gives the frames of a packet. The first fragment of most has the whole
// transport header, which takes 20 bytes at most.
func (k *Kernel) cut(f lab.Packet, how automaton.Cut) ([][]byte, error) {
	var pieces []lab.Piece
	switch how {
	case automaton.Uncut:
		frame, err := f.Frame()
		return [][]byte{frame}, err
	case automaton.Fragments:
		pieces = []lab.Piece{{To: 24}, {From: 24, To: 40}, {From: 40}}
	case automaton.Reversed:
		pieces = []lab.Piece{{From: 40}, {From: 24, To: 40}, {To: 24}}
	case automaton.Tiny:
		pieces = []lab.Piece{{To: 8}, {From: 8}}
	case automaton.Atomic:
		pieces = []lab.Piece{{}}
	case automaton.First:
		pieces = []lab.Piece{{To: 24}}
	case automaton.Later:
		pieces = []lab.Piece{{From: 24}}
	case automaton.Overlapping:
		pieces = []lab.Piece{{To: 24}, {From: 16, To: 40}, {From: 40}}
	}
	if f.Untagged {
		pieces = cutData(how)
	}
	k.cuts++
	return f.Fragments(k.cuts, pieces...)
}
