package policy

import (
	"encoding/base64"
	"fmt"
	"math"

	"github.com/pelletier/go-toml/v2/unstable"

	"tirl/internal/port"
)

// Credential is what a client opens a door with whose values work once: the user
// that it is, who has no name here, and what nobody else may know.
type Credential struct {
	User
	Secret [32]byte
	Start  uint64 // the first number that was live when this was handed out
}

// HasSecrets says whether anything in the file works for one user only, so that
// nobody else may read it.
func (h Hosts) HasSecrets() bool {
	for _, r := range h {
		for _, d := range r.Doors {
			if d.Credential != nil {
				return true
			}
		}
	}
	return false
}

// credential gives the keys of a door that is knocked at with values that work
// once, and what completes them when all are read.
func (d *hostsDecoder) credential() (keys []field, complete func(door *Door, key int)) {
	c := Credential{User: User{Length: DefaultLength, Ports: DefaultPorts(), Pool: DefaultPool}}
	at := map[string]int{} // where each key is written
	whole := true
	noting := func(name string, read func(e *entry) bool) field {
		return field{name, func(_ string, e *entry) {
			at[name] = e.key
			whole = read(e) && whole
		}}
	}
	number := func(to *int, low, high int) func(*entry) bool {
		return func(e *entry) (ok bool) {
			n, ok := d.number(e, low, high)
			if ok {
				*to = n
			}
			return ok
		}
	}
	keys = []field{
		noting("one_time", func(e *entry) bool {
			s, ok := d.choice(e, []string{string(Token), string(Sequence)})
			c.Kind = OneTime(s)
			return ok
		}),
		noting("secret", func(e *entry) bool { return d.secret(e, &c.Secret) }),
		noting("first", func(e *entry) (ok bool) {
			if ok = d.scalar(e, unstable.String, `a port such as "udp/40213"`, ""); ok {
				c.First, ok = d.knock(e.value)
			}
			return ok
		}),
		noting("length", number(&c.Length, MinLength, MaxLength)),
		noting("ports", func(e *entry) bool { return d.span(e, &c.Ports) }),
		noting("pool", number(&c.Pool, MinPool, MaxPool)),
		noting("start", func(e *entry) bool {
			n, ok := d.number(e, 0, math.MaxInt32)
			c.Start = uint64(n)
			return ok
		}),
	}
	return keys, func(door *Door, key int) {
		if len(at) == 0 || d.cut || !whole {
			return
		}
		if d.checkCredential(&c, door.Name, key, at) {
			door.Credential = &c
		}
	}
}

// checkCredential looks at what no key shows alone.
func (d *hostsDecoder) checkCredential(c *Credential, door string, key int, at map[string]int) bool {
	has := func(name string) bool { _, ok := at[name]; return ok }
	again := "ask the host's administrator for it: tirl export USER"
	switch {
	case !has("one_time"):
		d.r.errorf(key, `write one_time = "token", or "sequence"`, "door %s has no one_time", quote(door))
	case !has("secret"):
		d.r.errorf(key, again, "door %s has no secret", quote(door))
	case c.Kind == Token && (has("first") || has("length")):
		for _, name := range []string{"first", "length"} {
			if has(name) {
				d.r.errorf(at[name], "leave it out", "a token has no %s: it is one datagram", name)
			}
		}
	case c.Kind == Token:
		c.First, c.Length = port.Port{}, 0
		return true
	case !has("first"):
		d.r.errorf(key, again, "door %s has no first", quote(door))
	case c.Ports.Size() < MinPorts:
		d.r.errorf(at["ports"], "", "a sequence needs %d ports or more, not %d", MinPorts, c.Ports.Size())
	default:
		return true
	}
	return false
}

// secret reads 32 bytes in base64 (RFC 4648, section 4). No message repeats what is
// written.
func (d *reader) secret(e *entry, to *[32]byte) bool {
	if !d.scalar(e, unstable.String, "a string", "") {
		return false
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(e.value.text)
	if err != nil || len(raw) != len(to) {
		if !d.r.isFull(Error) {
			d.r.errorf(e.value.at, "copy it again, whole, from what tirl export has printed", "the secret is not %d bytes in base64", len(to))
			d.r.list[len(d.r.list)-1].excerpt = ""
		}
		return false
	}
	*to = [32]byte(raw)
	return true
}

// text writes the keys of a door that ParseHosts reads as c.
func (c *Credential) text() string {
	s := fmt.Sprintf("one_time = %q\nsecret = %q\n", string(c.Kind), base64.StdEncoding.EncodeToString(c.Secret[:]))
	if c.Kind == Sequence {
		s += fmt.Sprintf("first = %q\nlength = %d\n", c.First, c.Length)
	}
	return s + fmt.Sprintf("ports = %q\npool = %d\nstart = %d\n", c.Ports, c.Pool, c.Start)
}
