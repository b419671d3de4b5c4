package host

import (
	"io/fs"
	"strconv"
	"strings"

	"tirl/internal/procnet"
)

// readOwners gives the names of the programs that hold sockets, by inode. A
// user may look into its own processes only; what is hidden is left out.
func readOwners(root fs.FS, sockets []socket) map[uint64]string {
	wanted := make(map[uint64]bool)
	for _, s := range sockets {
		wanted[s.inode] = true
	}
	delete(wanted, 0)
	owners := make(map[uint64]string)
	processes, err := fs.ReadDir(root, "proc")
	if err != nil {
		return owners
	}
	for _, p := range processes {
		if _, err := strconv.ParseUint(p.Name(), 10, 32); err != nil {
			continue
		}
		if len(owners) == len(wanted) {
			break
		}
		readOwner(root, "proc/"+p.Name(), wanted, owners)
	}
	return owners
}

// readOwner notes the wanted sockets of one process. Of several processes that
// share a socket the first counts: a server's parent, as a rule.
func readOwner(root fs.FS, process string, wanted map[uint64]bool, owners map[uint64]string) {
	files, err := fs.ReadDir(root, process+"/fd")
	if err != nil {
		return
	}
	for _, f := range files {
		target, err := fs.ReadLink(root, process+"/fd/"+f.Name())
		if err != nil {
			continue
		}
		inode, ok := procnet.ParseLink(target)
		if !ok || !wanted[inode] || owners[inode] != "" {
			continue
		}
		comm, err := fs.ReadFile(root, process+"/comm")
		if err != nil {
			return
		}
		owners[inode] = strings.TrimSpace(string(comm))
	}
}
