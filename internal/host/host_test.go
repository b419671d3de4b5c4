package host

import (
	"io/fs"
	"os"
	"slices"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"tirl/internal/policy"
	"tirl/internal/port"
)

const header = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"

func file(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s), Mode: 0o444} }

func link(s string) *fstest.MapFile {
	return &fstest.MapFile{Data: []byte(s), Mode: 0o777 | fs.ModeSymlink}
}

// machine is a small-endian host: sshd on both families, a mail server on
// the loopback device, UDP sockets of a server, of a client that is connected
// and of one that is not, and of the kernel.
func machine() fstest.MapFS {
	return fstest.MapFS{
		"proc/sys/net/ipv4/ip_local_port_range":     file("32768\t60999\n"),
		"proc/sys/net/ipv4/ip_local_reserved_ports": file("8080,40002-40999\n"),
		"proc/net/tcp": file(header +
			"   0: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 101 1 0 100 0 0 10 0\n" +
			"   1: 0100007F:0277 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 102 1 0 100 0 0 10 0\n" +
			"   2: 0200000A:0016 0300000A:D431 01 00000000:00000000 02:000A 00000000     0        0 103 2 0 20 4 30 10 -1\n"),
		"proc/net/tcp6": file(header +
			"   0: 00000000000000000000000000000000:0016 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 104 1\n" +
			"   1: 00000000000000000000000001000000:0277 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 105 1\n" +
			"   2: 0000000000000000FFFF00000100007F:0278 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 106 1\n"),
		"proc/net/udp": file(header +
			"  10: 00000000:14E9 00000000:0000 07 00000000:00000000 00:00000000 00000000   101        0 107 2 0 0\n" +
			"  11: 00000000:CA6C 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 0 2 0 0\n" +
			"  12: 0200000A:9C40 0300000A:0035 01 00000000:00000000 00:00000000 00000000     0        0 108 2 0 0\n" +
			"  13: 00000000:9C41 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 109 2 0 0\n"),
		"proc/1/comm":    file("init\n"),
		"proc/1/fd/0":    link("/dev/null"),
		"proc/812/comm":  file("sshd\n"),
		"proc/812/fd/3":  link("socket:[101]"),
		"proc/812/fd/4":  link("socket:[104]"),
		"proc/812/fd/5":  link("socket:[103]"),
		"proc/900/comm":  file("avahi-daemon\n"),
		"proc/900/fd/12": link("socket:[107]"),
		"proc/self":      link("812"),
	}
}

func TestRead(t *testing.T) {
	got, err := Read(machine())
	if err != nil {
		t.Fatal(err)
	}
	want := policy.Host{
		EphemeralFirst: 32768,
		Reserved:       []port.Span{{First: 8080, Last: 8080}, {First: 40002, Last: 40999}},
		EphemeralLast:  60999,
		Listeners: []policy.Listener{
			{Service: port.Port{Proto: port.TCP, Number: 22}, Program: "sshd"},
			{Service: port.Port{Proto: port.UDP, Number: 5353}, Program: "avahi-daemon"},
			{Service: port.Port{Proto: port.UDP, Number: 51820}},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// A host that shows nothing of its processes still has listeners.
func TestReadHidden(t *testing.T) {
	m := machine()
	for name := range m {
		if len(name) > len("proc/net") && name[5] >= '0' && name[5] <= '9' {
			delete(m, name)
		}
	}
	delete(m, "proc/net/tcp6")
	got, err := Read(m)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Listeners) != 3 || got.Listeners[0].Program != "" {
		t.Errorf("got %v", got.Listeners)
	}
}

func TestReadErrors(t *testing.T) {
	for name, text := range map[string]string{
		"proc/sys/net/ipv4/ip_local_port_range": "60999 32768",
		"proc/net/tcp":                          header + "0: 00000000:0016 0A",
		"proc/net/udp":                          header + "0: 0000:0016 x 07 0:0 0:0 0 0 0 1",
	} {
		m := machine()
		m[name] = file(text)
		got, err := Read(m)
		if err == nil {
			t.Errorf("%s of %q: no error", name, text)
		}
		if len(got.Listeners) == 0 {
			t.Errorf("%s of %q: what can be read is not returned", name, text)
		}
	}
	if _, err := Read(fstest.MapFS{}); err == nil {
		t.Error("no /proc: no error")
	}
}

func TestReadThisHost(t *testing.T) {
	got, err := Read(os.DirFS("/"))
	if err != nil {
		t.Fatal(err)
	}
	if got.EphemeralLast == 0 {
		t.Error("no ephemeral ports")
	}
}

func FuzzParseEphemeral(f *testing.F) {
	f.Add("32768\t60999\n")
	f.Add("1 0")
	f.Fuzz(func(t *testing.T, s string) {
		if first, last, err := parseEphemeral(s); err == nil && first > last {
			t.Errorf("%q gives %d to %d", s, first, last)
		}
	})
}

func FuzzParseSSHPorts(f *testing.F) {
	f.Add("Port 22\nport=\"2222\"\nMatch User a\nPort 3\n")
	f.Fuzz(func(t *testing.T, s string) {
		if found := ParseSSHPorts(s); slices.Contains(found, 0) {
			t.Errorf("%q gives %v", s, found)
		}
	})
}
