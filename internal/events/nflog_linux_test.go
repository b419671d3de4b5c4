package events

import (
	"context"
	"errors"
	"testing"
	"time"

	"tirl/internal/lab"
	"tirl/internal/lab/labtest"
)

func TestNflogIsForOneReader(t *testing.T) {
	labtest.Require(t)
	n, err := lab.NewNamespace()
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	err = n.Do(func() error {
		first, err := Nflog(7)
		if err != nil {
			return err
		}
		if _, err := Nflog(7); !errors.Is(err, ErrTaken) {
			t.Errorf("a second reader: %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if _, err := first.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("nothing happened, but: %v", err)
		}
		if err := first.Close(); err != nil {
			return err
		}
		second, err := Nflog(7)
		if err != nil {
			return err
		}
		return second.Close()
	})
	if err != nil {
		t.Fatal(err)
	}
}
