// Package dist holds the files that a host gets beside the program: the boot
// script and the systemd units.
package dist

import "embed"

// Load is the boot script, for LoadPath.
//
//go:embed load
var Load []byte

// LoadPath is where the units expect the script.
const LoadPath = "/usr/lib/tirl/load"

// Units are the systemd units, and the drop-in for other firewalls, by their
// names under systemd/.
//
//go:embed systemd/*.service systemd/*.timer systemd/*.conf
var Units embed.FS
