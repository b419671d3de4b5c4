// Package onetime makes the values that open a door once: tokens and sequences
// of knocks, each of a number and of a secret that one user and the host share.
// docs/one-time.md has the derivation to the byte, spec/one-time has test
// vectors. It is pure: no clock, no files, no randomness.
package onetime

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"math"

	"tirl/internal/policy"
	"tirl/internal/port"
)

// What each use of a secret is hashed with, so that no value of one kind is ever
// part of another.
const (
	idContext       = "tirl one-time id v1"
	tokenContext    = "tirl one-time token v1"
	sequenceContext = "tirl one-time sequence v1"
)

// Secret is what a user and the host share.
type Secret [32]byte

// Format keeps secrets out of messages, whatever the verb.
func (s Secret) Format(f fmt.State, _ rune) { io.WriteString(f, "(secret)") }

// Text gives the secret itself, in base64 (RFC 4648, section 4).
func (s Secret) Text() string { return base64.StdEncoding.EncodeToString(s[:]) }

// ParseSecret reads what Text gives. No error repeats what was read.
func ParseSecret(text string) (Secret, error) {
	var s Secret
	raw, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil {
		return s, fmt.Errorf("a secret is %d bytes in base64: this is no base64", len(s))
	}
	if len(raw) != len(s) {
		return s, fmt.Errorf("a secret is %d bytes in base64: this is %d bytes", len(s), len(raw))
	}
	copy(s[:], raw)
	return s, nil
}

// ID names a secret without telling anything of it.
func (s Secret) ID() string {
	sum := sha256.Sum256(append([]byte(idContext), s[:]...))
	return hex.EncodeToString(sum[:8])
}

// Params is all that values depend on besides the secret.
type Params struct {
	Kind   policy.OneTime
	First  port.Port // knock 1 of a sequence
	Length int       // knocks of a sequence
	Lo, Hi uint16    // UDP ports of the other knocks, or of the datagram
	Pool   int       // values in a block
}

// ParamsOf are those of a policy's user.
func ParamsOf(u policy.User) Params {
	return Params{Kind: u.Kind, First: u.First, Length: u.Length, Lo: u.Ports.First, Hi: u.Ports.Last, Pool: u.Pool}
}

// mac is HMAC-SHA256 (RFC 2104) of a context and a number.
func (s Secret) mac(context string, i uint64) []byte {
	h := hmac.New(sha256.New, s[:])
	h.Write([]byte(context))
	h.Write(binary.BigEndian.AppendUint64(nil, i))
	return h.Sum(nil)
}

// port takes a port of the range from a word. That some ports come more often
// than others by a few in four thousand million is of no matter.
func (p Params) port(word []byte) uint16 {
	size := uint32(p.Hi) - uint32(p.Lo) + 1
	return p.Lo + uint16(binary.BigEndian.Uint32(word)%size)
}

// Token gives the payload of the datagram number i, and the port it goes to.
func (s Secret) Token(i uint64, p Params) (token [policy.TokenBytes]byte, to uint16) {
	m := s.mac(tokenContext, i)
	copy(token[:], m)
	return token, p.port(m[len(token) : len(token)+4])
}

// Sequence gives the knocks number i. A sequence has policy.MaxLength knocks at
// most: there are no more words in a hash.
func (s Secret) Sequence(i uint64, p Params) []port.Port {
	m := s.mac(sequenceContext, i)
	knocks := []port.Port{p.First}
	for j := range p.Length - 1 {
		knocks = append(knocks, port.Port{Proto: port.UDP, Number: p.port(m[4*j : 4*j+4])})
	}
	return knocks
}

// Block gives the block that number i is in. Blocks are as large as a pool.
func Block(i uint64, pool int) uint64 { return i / uint64(pool) }

// After gives the number that follows i in a pool. The first number of a block is
// left out, unless a pool begins with it: that is what a client tries in case that
// the host has lost its pool, and where it has not, what was tried in vain and may
// have been recorded is never loaded later.
func After(i uint64, pool int) uint64 {
	if i++; i%uint64(pool) == 0 {
		i++
	}
	return i
}

// Candidates lists the values that a client may try whose lowest unconfirmed one
// is c: c, the one after it, and the first of the next two blocks, which is where
// a host goes on that has lost its pool. There are four at most, in the order in
// which they are tried, and never others, however often all of them fail.
func Candidates(c uint64, pool int) []uint64 {
	all := []uint64{c}
	if next := After(c, pool); next > c {
		all = append(all, next)
	}
	for ahead := uint64(1); ahead <= 2; ahead++ {
		if b := Block(c, pool) + ahead; b <= math.MaxUint64/uint64(pool) {
			all = append(all, b*uint64(pool))
		}
	}
	return all
}
