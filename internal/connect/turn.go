package connect

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/lockedfile"

	"tirl/internal/filelock"
)

// turn is the right to knock at a door, which one process of a machine has at a
// time, and what the last one knew. The zero value is for nobody else.
type turn struct{ file *lockedfile.File }

// takeTurn waits until no other process holds the file. Where files cannot be
// locked, or not be written, everybody has a turn: to knock twice is better than
// not to connect.
func takeTurn(ctx context.Context, file string, waiting func()) (turn, error) {
	if file == "" {
		return turn{}, nil
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return turn{}, nil
	}
	f, err := filelock.Take(ctx, file, waiting)
	switch {
	case err == nil:
		return turn{f}, nil
	case errors.Is(ctx.Err(), context.Canceled):
		return turn{}, ctx.Err()
	case ctx.Err() != nil:
		return turn{}, fmt.Errorf("another process knocks at this door for all that time: %s is locked", file)
	}
	return turn{}, nil
}

// end gives the turn to the next process.
func (t turn) end() {
	if t.file != nil {
		t.file.Close()
	}
}

// isOpen says whether the door should still be open by a knock that let an earlier
// connection in.
func (t turn) isOpen(to Target, now time.Time) bool {
	if t.file == nil || to.Once {
		return false
	}
	text, err := io.ReadAll(io.LimitReader(t.file, 64))
	if err != nil {
		return false
	}
	knocked, err := time.Parse(time.RFC3339Nano, strings.TrimSpace(string(text)))
	// A lost SYN comes a second later.
	margin := min(2*time.Second, to.OpenFor/4)
	age := now.Sub(knocked)
	return err == nil && age >= 0 && age < to.OpenFor-margin
}

// opened notes when the knock was sent that let a connection in. Who cannot read
// it knocks once more.
func (t turn) opened(knocked time.Time) {
	if t.file == nil {
		return
	}
	if t.file.Truncate(0) == nil {
		t.file.WriteAt([]byte(knocked.Format(time.RFC3339Nano)+"\n"), 0)
	}
}
