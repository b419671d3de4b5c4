//go:build !unix

package term

import "os"

// Nothing tells of it here; the next picture has the size that there is then.
func notifyResize(chan<- os.Signal) {}

func stopResize(chan<- os.Signal) {}
