package counter

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
)

// place tells a state that was copied, or restored, from one that has always been
// here: by the machine, and by the file of the lock, which is never replaced.
func place(lock *os.File) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%s", machine(), inode(lock)))
	return hex.EncodeToString(sum[:8])
}

// machine is what distinguishes this machine from others: machine-id(5), the
// hostid of FreeBSD, or at least its name.
func machine() string {
	for _, file := range []string{"/etc/machine-id", "/var/lib/dbus/machine-id", "/etc/hostid"} {
		if text, err := os.ReadFile(file); err == nil && len(bytes.TrimSpace(text)) > 0 {
			return string(bytes.TrimSpace(text))
		}
	}
	name, _ := os.Hostname() // an empty one is the same each time, too
	return name
}
