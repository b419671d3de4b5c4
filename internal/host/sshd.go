package host

import (
	"bufio"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// SSHPorts reads where an SSH server would listen from its configuration under
// a root: /etc/ssh/sshd_config and the files beside it that Debian and Fedora
// include, sshd_config(5). It gives 22 if those name no port, and nothing if the
// server is not installed.
func SSHPorts(root fs.FS) []uint16 {
	names, _ := fs.Glob(root, "etc/ssh/sshd_config.d/*.conf")
	slices.Sort(names)
	names = append(names, "etc/ssh/sshd_config")
	var ports []uint16
	found := false
	for _, name := range names {
		text, err := fs.ReadFile(root, name)
		if err != nil {
			continue
		}
		found = true
		ports = append(ports, ParseSSHPorts(string(text))...)
	}
	if found && len(ports) == 0 {
		return []uint16{22}
	}
	slices.Sort(ports)
	return slices.Compact(ports)
}

// ParseSSHPorts reads the Port lines of an sshd_config(5), or of what sshd -T
// prints, as far as its first Match.
func ParseSSHPorts(text string) []uint16 {
	var ports []uint16
	for s := bufio.NewScanner(strings.NewReader(text)); s.Scan(); {
		f := strings.FieldsFunc(s.Text(), func(r rune) bool { return r == ' ' || r == '\t' || r == '=' })
		if len(f) < 2 {
			continue
		}
		switch strings.ToLower(f[0]) {
		case "match":
			return ports
		case "port":
			if n, err := strconv.ParseUint(strings.Trim(f[1], `"`), 10, 16); err == nil && n > 0 && !slices.Contains(ports, uint16(n)) {
				ports = append(ports, uint16(n))
			}
		}
	}
	return ports
}

// IsSSHServer says whether a program, as the kernel names it, serves SSH.
func IsSSHServer(program string) bool {
	return slices.Contains([]string{"sshd", "dropbear"}, path.Base(program))
}
