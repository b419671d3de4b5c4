// Package filelock waits for a file that processes of a machine lock for each
// other. It works on every system that has locks at all.
package filelock

import (
	"context"
	"os"
	"time"

	"github.com/rogpeppe/go-internal/lockedfile"
)

// Notice is how long Take waits silently.
const Notice = 300 * time.Millisecond

// Take makes the file if it is not there, and waits until no other process holds
// it, or ctx ends: the error is then that of ctx. The file is given up by Close,
// or when the process ends. If that takes long waiting is called, which may be nil.
func Take(ctx context.Context, path string, waiting func()) (*lockedfile.File, error) {
	type result struct {
		file *lockedfile.File
		err  error
	}
	done := make(chan result, 1)
	go func() {
		f, err := lockedfile.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		done <- result{f, err}
	}()
	notice := time.NewTimer(Notice)
	defer notice.Stop()
	for {
		select {
		case r := <-done:
			return r.file, r.err
		case <-notice.C:
			if waiting != nil {
				waiting()
			}
		case <-ctx.Done():
			// What comes too late is for the next.
			go func() {
				if r := <-done; r.err == nil {
					r.file.Close()
				}
			}()
			return nil, ctx.Err()
		}
	}
}
