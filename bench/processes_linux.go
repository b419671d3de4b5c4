package bench

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"tirl/internal/lab"
	"tirl/internal/port"
)

// processes are the contenders that are a process beside the packets: what it uses of
// the processors counts as theirs.
func processes() []contender {
	var all []contender
	for _, g := range daemons() {
		c := g.contender
		c.four, c.process = true, true
		if c.name == "fwknopd" {
			// It looks at one port, and takes nothing for a knock that does not carry its keys.
			spa := port.Port{Proto: port.UDP, Number: spaPort}
			c.doors, c.payload = [][]port.Port{{spa, spa, spa}}, junk()
		}
		all = append(all, c)
	}
	return all
}

// junk looks like a knock of fwknop until its digest is computed.
func junk() []byte {
	b := make([]byte, 168)
	rand.Read(b) // it never fails
	return []byte(strings.TrimRight(base64.StdEncoding.EncodeToString(b), "="))
}

// What comes at once, so that no process loses packets (libpcap's buffer has 2 MiB),
// and how long it may take to deal with them.
const (
	processBurst    = 1024
	processPatience = 10 * time.Second
	processIdle     = 20 * time.Millisecond
)

// cpu is what a daemon has used of the processors.
func (d *daemon) cpu() (time.Duration, error) {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", d.cmd.Process.Pid))
	if err != nil || len(threads) == 0 {
		return 0, errors.Join(err, fmt.Errorf("%s has ended", d.cmd.Args[0]))
	}
	var sum time.Duration
	for _, name := range threads {
		text, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		var ran int64
		if _, err2 := fmt.Sscan(string(text), &ran); err != nil || err2 != nil {
			return 0, errors.Join(err, err2)
		}
		sum += time.Duration(ran)
	}
	return sum, nil
}

// runBeside is Live.Run with the time of the stage's process, which gets to deal
// with each burst before the next one comes.
func (s *stage) runBeside(ctx context.Context, live *lab.Live, n int) (c lab.Cost, err error) {
	before, err := s.daemon.cpu()
	if err != nil {
		return c, err
	}
	after := before
	for left := n; left > 0; left -= processBurst {
		part, err := live.Run(ctx, min(left, processBurst))
		c.Packets += part.Packets
		c.CPU += part.CPU
		c.Wall += part.Wall
		if err != nil {
			return c, err
		}
		deadline := time.Now().Add(processPatience)
		for last := time.Duration(-1); after != last && time.Now().Before(deadline); {
			last = after
			time.Sleep(processIdle)
			if after, err = s.daemon.cpu(); err != nil {
				return c, err
			}
		}
	}
	c.CPU += after - before
	return c, nil
}
