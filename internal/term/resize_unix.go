//go:build unix

package term

import (
	"os"
	"os/signal"
	"syscall"
)

func notifyResize(c chan<- os.Signal) { signal.Notify(c, syscall.SIGWINCH) }

func stopResize(c chan<- os.Signal) { signal.Stop(c) }
