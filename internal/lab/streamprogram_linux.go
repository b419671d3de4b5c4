package lab

import (
	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

// position is where a stream has come to; the program's state between two packets.
type position struct {
	Sent                uint64
	Packet, Held, Count uint32 // the next packet, how many its source has sent, the source's number
	_                   uint32
}

const (
	atSent   = 0
	atPacket = 8
	atHeld   = 12
	atCount  = 16
)

// Verdicts of an XDP program (include/uapi/linux/bpf.h).
const (
	xdpDrop = 1
	xdpPass = 2
)

// instructions write the next packet of a stream into the frame and return the
// verdict. The kernel uses its frames over and over and leaves in them what was
// there, so each is written whole. Registers: r6 the context, r7 the frame, r8 the position, r9
// the number of the source.
func (s Stream) instructions(l layout, state, frames *ebpf.Map, verdict int32) asm.Instructions {
	lookup := func(m *ebpf.Map, missing string) asm.Instructions {
		return asm.Instructions{
			asm.Mov.Reg(asm.R2, asm.RFP),
			asm.Add.Imm(asm.R2, -4),
			asm.LoadMapPtr(asm.R1, m.FD()),
			asm.FnMapLookupElem.Call(),
			asm.JEq.Imm(asm.R0, 0, missing),
		}
	}
	p := asm.Instructions{
		asm.Mov.Reg(asm.R6, asm.R1),
		asm.LoadMem(asm.R7, asm.R6, 0, asm.Word), // xdp_md.data
		asm.LoadMem(asm.R3, asm.R6, 4, asm.Word), // xdp_md.data_end
		asm.Mov.Reg(asm.R2, asm.R7),
		asm.Add.Imm(asm.R2, int32(l.length)),
		asm.JGT.Reg(asm.R2, asm.R3, "drop"),
		asm.StoreImm(asm.RFP, -4, 0, asm.Word),
	}
	p = append(p, lookup(state, "drop")...)
	p = append(p,
		asm.Mov.Reg(asm.R8, asm.R0),
		asm.LoadMem(asm.R1, asm.R8, atPacket, asm.Word),
		asm.StoreMem(asm.RFP, -4, asm.R1, asm.Word))
	p = append(p, lookup(frames, "drop")...)
	p = append(p, copyFrame(l.length)...)
	p = append(p, s.number(l)...)
	p = append(p, s.advance()...)
	return append(p,
		asm.Mov.Imm(asm.R0, verdict),
		asm.Return(),
		asm.Mov.Imm(asm.R0, xdpDrop).WithSymbol("drop"),
		asm.Return())
}

// copyFrame copies from r0 to r7.
func copyFrame(length int) asm.Instructions {
	var p asm.Instructions
	for at := 0; at < length; {
		size := asm.DWord
		for size.Sizeof() > length-at {
			size = map[asm.Size]asm.Size{asm.DWord: asm.Word, asm.Word: asm.Half, asm.Half: asm.Byte}[size]
		}
		p = append(p,
			asm.LoadMem(asm.R1, asm.R0, int16(at), size),
			asm.StoreMem(asm.R7, int16(at), asm.R1, size))
		at += size.Sizeof()
	}
	return p
}

// number adds the number of the source to its address, and to the checksums: RFC
// 1624. Their sum is the same in either byte order (RFC 1071, section 2).
func (s Stream) number(l layout) asm.Instructions {
	if s.Sources < 2 {
		return nil
	}
	p := asm.Instructions{
		asm.LoadMem(asm.R9, asm.R8, atCount, asm.Word),
		asm.LoadMem(asm.R1, asm.R7, int16(l.number), asm.Word),
		asm.Mov.Reg(asm.R2, asm.R1),
		asm.HostTo(asm.BE, asm.R1, asm.Word),
		asm.Add.Reg32(asm.R1, asm.R9),
		asm.HostTo(asm.BE, asm.R1, asm.Word),
		asm.StoreMem(asm.R7, int16(l.number), asm.R1, asm.Word),
		// r9: new minus old, as the sum of four halves below 2^18.
		asm.Mov.Reg(asm.R9, asm.R1),
		asm.RSh.Imm(asm.R9, 16),
		asm.And.Imm(asm.R1, 0xffff),
		asm.Add.Reg(asm.R9, asm.R1),
		asm.Xor.Imm32(asm.R2, -1),
		asm.Mov.Reg(asm.R1, asm.R2),
		asm.RSh.Imm(asm.R1, 16),
		asm.Add.Reg(asm.R9, asm.R1),
		asm.And.Imm(asm.R2, 0xffff),
		asm.Add.Reg(asm.R9, asm.R2),
	}
	if !l.six {
		p = append(p, addToChecksum(ipv4Checksum)...)
	}
	p = append(p,
		asm.LoadMem(asm.R1, asm.R7, int16(l.proto), asm.Byte),
		asm.JEq.Imm(asm.R1, 6, "tcp"))
	p = append(p, addToChecksum(l.udp)...)
	p = append(p, asm.Ja.Label("numbered"))
	tcp := addToChecksum(l.tcp)
	tcp[0] = tcp[0].WithSymbol("tcp")
	return append(append(p, tcp...), asm.Mov.Reg(asm.R1, asm.R1).WithSymbol("numbered"))
}

// addToChecksum adds r9 to what the checksum is the complement of.
func addToChecksum(at int) asm.Instructions {
	p := asm.Instructions{
		asm.LoadMem(asm.R1, asm.R7, int16(at), asm.Half),
		asm.Xor.Imm(asm.R1, 0xffff),
		asm.Add.Reg(asm.R1, asm.R9),
	}
	for range 2 {
		p = append(p,
			asm.Mov.Reg(asm.R2, asm.R1),
			asm.RSh.Imm(asm.R2, 16),
			asm.And.Imm(asm.R1, 0xffff),
			asm.Add.Reg(asm.R1, asm.R2))
	}
	return append(p,
		asm.Xor.Imm(asm.R1, 0xffff),
		asm.StoreMem(asm.R7, int16(at), asm.R1, asm.Half))
}

// advance moves the position on by one packet.
func (s Stream) advance() asm.Instructions {
	// count adds one, or goes to a label unless that makes n.
	count := func(at int16, n int, unless string) asm.Instructions {
		return asm.Instructions{
			asm.LoadMem(asm.R1, asm.R8, at, asm.Word),
			asm.Add.Imm(asm.R1, 1),
			asm.StoreMem(asm.R8, at, asm.R1, asm.Word),
			asm.JNE.Imm(asm.R1, int32(n), unless),
			asm.StoreImm(asm.R8, at, 0, asm.Word),
		}
	}
	p := asm.Instructions{
		asm.LoadMem(asm.R1, asm.R8, atSent, asm.DWord),
		asm.Add.Imm(asm.R1, 1),
		asm.StoreMem(asm.R8, atSent, asm.R1, asm.DWord),
	}
	p = append(p, count(atPacket, len(s.Packets), "hold")...)
	hold := count(atHeld, max(s.Hold, 1), "end")
	hold[0] = hold[0].WithSymbol("hold")
	p = append(p, hold...)
	p = append(p, count(atCount, max(s.Sources, 1), "end")...)
	return append(p, asm.Mov.Reg(asm.R1, asm.R1).WithSymbol("end"))
}
