package host

import (
	"slices"
	"testing"
	"testing/fstest"
)

func TestParseSSHPorts(t *testing.T) {
	for _, c := range []struct {
		text string
		want []uint16
	}{
		{"", nil},
		{"#Port 22\n", nil},
		{"Port 22\nport=2222\n\tPORT \"2200\" # office\nPort 22\n", []uint16{22, 2222, 2200}},
		{"port 22\nlistenaddress [::]:22\npermitrootlogin no\n", []uint16{22}},
		{"Port 0\nPort x\nPort 70000\nPort\n", nil},
		{"Match User git\n  Port 2222\n", nil},
	} {
		if got := ParseSSHPorts(c.text); !slices.Equal(got, c.want) {
			t.Errorf("%q: %v, want %v", c.text, got, c.want)
		}
	}
}

func TestSSHPorts(t *testing.T) {
	file := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }
	for _, c := range []struct {
		root fstest.MapFS
		want []uint16
	}{
		{fstest.MapFS{}, nil},
		{fstest.MapFS{"etc/ssh/sshd_config": file("UsePAM yes\n")}, []uint16{22}},
		{fstest.MapFS{"etc/ssh/sshd_config": file("Port 22\n"), "etc/ssh/sshd_config.d/10-port.conf": file("Port 2222\n")}, []uint16{22, 2222}},
	} {
		if got := SSHPorts(c.root); !slices.Equal(got, c.want) {
			t.Errorf("%v: %v, want %v", c.root, got, c.want)
		}
	}
}
