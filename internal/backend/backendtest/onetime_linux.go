package backendtest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"tirl/internal/automaton"
	"tirl/internal/backend"
	"tirl/internal/lab"
	"tirl/internal/port"
)

// A datagram whose content is of matter has no room for a tag: what it begins with
// is its tag, or its ports if that is too short. Whether it is tracked, its source port says.
const (
	dataPorts     = 9000 // and the next ones
	dataUntracked = 9500
	dataPortsEnd  = 9999

	notrackData = `
		udp sport 9500-9999 notrack
		udp sport 9000-9499 return`
)

// Fill makes values live, in a pool of their own.
func (k *Kernel) Fill(ctx context.Context, values []automaton.Value) error {
	if len(k.g.Users) == 0 {
		return nil
	}
	pool, ok := k.Backend.(backend.Pool)
	if !ok {
		return fmt.Errorf("backend %s has no pool of one-time values", k.Backend.Name())
	}
	k.values = values
	if err := pool.Begin(ctx, 1); err != nil {
		return err
	}
	return pool.LoadValues(ctx, k.g, values)
}

// Spent lists the values that are spent, as indexes into those that Fill was given.
func (k *Kernel) Spent(ctx context.Context) ([]int, error) {
	if len(k.values) == 0 {
		return nil, nil
	}
	spent, err := k.Backend.(backend.Pool).Spent(ctx)
	if err != nil {
		return nil, err
	}
	var all []int
	for _, s := range spent {
		i := slices.IndexFunc(k.values, func(v automaton.Value) bool {
			if len(v.Knocks) == 0 {
				return s.Place == 0 && v.Token == s.Token
			}
			return s.Place == automaton.PathPlace(v.Serial, len(v.Knocks)-1)
		})
		if i < 0 {
			return nil, errors.New("a value is spent that was never live")
		}
		if len(s.Sources) == 0 {
			return nil, fmt.Errorf("value %d was spent by nobody", k.values[i].Number)
		}
		all = append(all, i)
	}
	slices.Sort(all)
	return all, nil
}

// carry gives a frame what its datagram holds.
func (k *Kernel) carry(f *lab.Packet, p automaton.Packet) error {
	if p.Data == "" {
		return nil
	}
	if p.To.Proto != port.UDP || p.Conn == automaton.Related {
		return fmt.Errorf("%w: a packet of %s with content", ErrNotHere, p.To)
	}
	f.Payload, f.Untagged = []byte(p.Data), true
	if p.SrcPort == 0 && p.Conn != automaton.Established {
		first := uint16(dataPorts)
		if p.Conn == automaton.Untracked {
			first = dataUntracked
		}
		f.SrcPort = first + uint16(k.tag/tagStep%(dataUntracked-dataPorts))
	} else if (f.Payload[0]&0x80 != 0) != (p.Conn == automaton.Untracked) {
		return fmt.Errorf("%w: its content and its source port differ about tracking", ErrNotHere)
	}
	f.Tag = uint32(f.SrcPort)<<16 | uint32(f.DstPort) // of short ones, as lab.Observer has it
	if len(f.Payload) >= 4 {
		f.Tag = binary.BigEndian.Uint32(f.Payload)
	}
	return nil
}

// cutData gives the pieces of a datagram that is too short for the others.
func cutData(how automaton.Cut) []lab.Piece {
	switch how {
	case automaton.Fragments:
		return []lab.Piece{{To: 8}, {From: 8, To: 16}, {From: 16}}
	case automaton.Reversed:
		return []lab.Piece{{From: 16}, {From: 8, To: 16}, {To: 8}}
	case automaton.Tiny:
		return []lab.Piece{{To: 8}, {From: 8}}
	case automaton.First:
		return []lab.Piece{{To: 16}}
	case automaton.Later:
		return []lab.Piece{{From: 16}}
	case automaton.Overlapping:
		return []lab.Piece{{To: 16}, {From: 8}}
	}
	return []lab.Piece{{}}
}
