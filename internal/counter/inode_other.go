//go:build !unix

package counter

import "os"

// inode tells a file from its copies elsewhere.
func inode(f *os.File) string { return f.Name() }
